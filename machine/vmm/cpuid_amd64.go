package vmm

import (
	"math/bits"

	"usui/machine/kvm"
)

// CPUID leaves that say who and where a processor is (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). Everything else passes
// through from what KVM supports on this host.
const (
	leafFeatures    = 0x1
	leafCache       = 0x4
	leafTopology    = 0xb
	leafTopologyV2  = 0x1f
	leafAMDSizes    = 0x8000_0008
	leafAMDCache    = 0x8000_001d
	leafAMDTopology = 0x8000_001e
	leafAMDExtended = 0x8000_0026

	featureX2APIC      = 1 << 21 // leaf 1 ECX
	featureTSCDeadline = 1 << 24 // leaf 1 ECX
	featureHypervisor  = 1 << 31 // leaf 1 ECX
	featureHTT         = 1 << 28 // leaf 1 EDX: leaf 1's count of logical processors is valid

	topologySMT, topologyCore = 1, 2 // leaf 0xb ECX, bits 15:8
)

// guestCPUID is what CPU id of n answers: KVM's supported leaves with the host's own identity replaced by n single-threaded cores in
// one package. It changes supported in place.
func guestCPUID(supported []kvm.CPUIDEntry2, id, n int, tscDeadline bool) []kvm.CPUIDEntry2 {
	me, count := uint32(id), uint32(n)
	width := uint32(bits.Len32(count - 1)) // bits of an APIC identifier that number the cores
	kept := supported[:0]
	for _, e := range supported {
		switch e.Function {
		case leafFeatures:
			e.Ebx = e.Ebx&0x0000ffff | count<<16 | me<<24
			e.Ecx |= featureHypervisor | featureX2APIC
			if tscDeadline {
				e.Ecx |= featureTSCDeadline
			}
			if e.Edx &^= featureHTT; n > 1 {
				e.Edx |= featureHTT
			}
		case leafCache:
			e.Eax = e.Eax&0x3fff | (count-1)<<26 | sharers(e.Eax, count)<<14
		case leafTopology:
			if e.Index > 1 {
				continue
			}
			e = topologyLevel(e, me, count, width)
		case leafTopologyV2, leafAMDExtended:
			continue // newer descriptions of the host's topology; guests fall back to the ones above
		case leafAMDSizes:
			e.Ecx = e.Ecx&^0xf0ff | width<<12 | (count - 1)
		case leafAMDCache:
			e.Eax = e.Eax&^(0xfff<<14) | sharers(e.Eax, count)<<14
		case leafAMDTopology:
			e.Eax, e.Ebx, e.Ecx = me, me&0xff, 0
		}
		kept = append(kept, e)
	}
	return kept
}

// sharers is the count of CPUs less one that share a cache of the level in eax: all of them the third level, none the others.
func sharers(eax, count uint32) uint32 {
	if level := eax >> 5 & 7; level >= 3 {
		return count - 1
	}
	return 0
}

// topologyLevel fills one level of leaf 0xb: threads of a core (one), then cores of the package.
func topologyLevel(e kvm.CPUIDEntry2, id, count, width uint32) kvm.CPUIDEntry2 {
	e.Eax, e.Ebx, e.Ecx, e.Edx = 0, 0, e.Index, id
	switch e.Index {
	case 0:
		e.Ebx, e.Ecx = 1, e.Index|topologySMT<<8
	case 1:
		e.Eax, e.Ebx, e.Ecx = width, count, e.Index|topologyCore<<8
	}
	return e
}
