package vmm

import (
	"fmt"
	"math/bits"

	"usui/machine/guestmem"
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

	cacheType    = 0x1f // leaf 4 EAX: 0 is the end of the list
	indexMatters = 1    // KVM_CPUID_FLAG_SIGNIFCANT_INDEX
)

// guestCPUID is what CPU id of n answers: KVM's supported leaves with the host's own identity replaced by n single-threaded cores in
// one package. supported is left alone.
func guestCPUID(supported []kvm.CPUIDEntry2, id, n int, tscDeadline bool) []kvm.CPUIDEntry2 {
	me, count := uint32(id), uint32(n)
	width := uint32(bits.Len32(count - 1)) // bits of an APIC identifier that number the cores
	kept := make([]kvm.CPUIDEntry2, 0, len(supported)+2)
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
			if e.Eax&cacheType != 0 {
				e.Eax = e.Eax&0x3fff | min(count-1, 63)<<26 | sharers(e.Eax, count)<<14
			}
		case leafTopology, leafTopologyV2, leafAMDExtended:
			continue // the host's topology; ours follows below, and guests need no newer description of it
		case leafAMDSizes:
			e.Ecx = e.Ecx&^0xf0ff | width<<12 | (count - 1)
		case leafAMDCache:
			e.Eax = e.Eax&^(0xfff<<14) | sharers(e.Eax, count)<<14
		case leafAMDTopology:
			e.Eax, e.Ebx, e.Ecx = me, me&0xff, 0
		}
		kept = append(kept, e)
	}
	return append(kept,
		kvm.CPUIDEntry2{Function: leafTopology, Index: 0, Flags: indexMatters, Ebx: 1, Ecx: 0 | topologySMT<<8, Edx: me},
		kvm.CPUIDEntry2{Function: leafTopology, Index: 1, Flags: indexMatters, Eax: width, Ebx: count, Ecx: 1 | topologyCore<<8, Edx: me})
}

// defaultReach is the width of physical addresses of processors that do not tell.
const defaultReach = 36

// checkReach says whether the processor's physical addresses, which are the guest's, reach the end of the topmost window.
func (h hostCPUID) checkReach(top guestmem.Range) error {
	width := uint32(defaultReach)
	for _, e := range h {
		if e.Function != leafAMDSizes || e.Eax&0xff == 0 {
			continue
		}
		// KVM says in GuestPhysAddrSize how much of that its page tables for guests reach.
		if width = e.Eax & 0xff; e.Eax>>16&0xff != 0 {
			width = min(width, e.Eax>>16&0xff)
		}
	}
	if uint32(bits.Len64(top.End()-1)) > width {
		return fmt.Errorf("it ends, with the PCI window above it, at %#x, and addresses of this processor have %d bits: give the machine less memory", top.End(), width)
	}
	return nil
}

// sharers is the count of CPUs less one that share a cache of the level in eax: all of them the third level, none the others.
func sharers(eax, count uint32) uint32 {
	if level := eax >> 5 & 7; level >= 3 {
		return count - 1
	}
	return 0
}
