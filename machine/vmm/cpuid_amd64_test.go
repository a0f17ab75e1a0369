package vmm

import (
	"testing"

	"usui/machine/guestmem"
	"usui/machine/kvm"
)

func TestGuestCPUIDNumbersTheCPUs(t *testing.T) {
	host := func() []kvm.CPUIDEntry2 { // a host CPU with identifier 0x55 among 64
		return []kvm.CPUIDEntry2{
			{Function: 0, Eax: 0x1f, Ebx: 0x68747541},
			{Function: leafFeatures, Ebx: 0x55400800, Edx: featureHTT, Ecx: 1},
			{Function: leafCache, Index: 0, Eax: 0xfc00c121},
			{Function: leafCache, Index: 3, Eax: 0xfc0fc163},
			{Function: leafCache, Index: 4},
			{Function: leafTopology, Index: 0}, // all that newer kernels say
			{Function: leafTopology, Index: 2, Eax: 6, Ebx: 64, Ecx: 0x202, Edx: 0x55},
			{Function: leafTopologyV2, Index: 0, Edx: 0x55},
			{Function: leafAMDSizes, Eax: 0x3028, Ecx: 0x603f},
			{Function: leafAMDTopology, Eax: 0x55, Ebx: 0x12a, Ecx: 3},
		}
	}
	for _, tt := range []struct {
		id, n int
		width uint32
	}{{0, 1, 0}, {1, 2, 1}, {2, 3, 2}, {253, 254, 8}} {
		got := map[[2]uint32]kvm.CPUIDEntry2{}
		for _, e := range guestCPUID(host(), tt.id, tt.n, true) {
			got[[2]uint32{e.Function, e.Index}] = e
		}
		id, n := uint32(tt.id), uint32(tt.n)
		check := func(what string, got, want uint32) {
			if got != want {
				t.Errorf("CPU %d of %d: %s = %#x, want %#x", tt.id, tt.n, what, got, want)
			}
		}
		l1 := got[[2]uint32{leafFeatures, 0}]
		check("APIC identifier and count", l1.Ebx, id<<24|n<<16|0x0800)
		check("features", l1.Ecx, featureHypervisor|featureX2APIC|featureTSCDeadline|1)
		check("HTT", l1.Edx>>28, min(n-1, 1))
		check("sharers of the first cache", got[[2]uint32{leafCache, 0}].Eax>>14&0xfff, 0)
		check("sharers of the last cache", got[[2]uint32{leafCache, 3}].Eax>>14&0xfff, n-1)
		check("cores", got[[2]uint32{leafCache, 3}].Eax>>26, min(n-1, 63))
		check("end of the caches", got[[2]uint32{leafCache, 4}].Eax, 0)
		check("threads of a core", got[[2]uint32{leafTopology, 0}].Ebx, 1)
		check("core level", got[[2]uint32{leafTopology, 1}].Ecx, 0x201)
		check("cores of the package", got[[2]uint32{leafTopology, 1}].Ebx, n)
		check("width", got[[2]uint32{leafTopology, 1}].Eax, tt.width)
		check("x2APIC identifier", got[[2]uint32{leafTopology, 1}].Edx, id)
		check("AMD cores", got[[2]uint32{leafAMDSizes, 0}].Ecx, tt.width<<12|(n-1))
		check("AMD identifier", got[[2]uint32{leafAMDTopology, 0}].Eax, id)
		if _, ok := got[[2]uint32{leafTopologyV2, 0}]; ok {
			t.Error("the host's topology leaf 0x1f reached the guest")
		}
		if _, ok := got[[2]uint32{leafTopology, 2}]; ok {
			t.Error("the host's third topology level reached the guest")
		}
	}
}

func TestMachineEndsWithinTheProcessorsReach(t *testing.T) {
	sizes := func(width uint32) hostCPUID { return hostCPUID{{Function: leafAMDSizes, Eax: 0x3000 | width}} }
	for _, tt := range []struct {
		host hostCPUID
		end  uint64
		ok   bool
	}{
		{sizes(39), 1 << 39, true},
		{sizes(39), 1<<39 + 1<<35, false},
		{sizes(48), 1 << 40, true},
		{sizes(0), 64 << 30, true},
		{sizes(0), 96 << 30, false},
		{sizes(48<<16 | 52), 1 << 48, true},
		{sizes(48<<16 | 52), 1<<48 + window64Size, false},
		{sizes(52<<16 | 39), 1<<39 + window64Size, false},
		{hostCPUID{}, 64 << 30, true},
		{hostCPUID{}, 96 << 30, false},
	} {
		err := tt.host.checkReach(guestmem.Range{Start: tt.end - window64Size, Size: window64Size})
		if (err == nil) != tt.ok {
			t.Errorf("%v: a window that ends at %#x: %v, want ok %t", tt.host, tt.end, err, tt.ok)
		}
	}
}
