package vmm

import (
	"usui/machine/guestmem"
)

// Guest-physical addresses of a machine on amd64. RAM ends at 3 GiB at the latest (guestmem.Layout) and goes on at 4 GiB.
var (
	window32 = guestmem.Range{Start: 0xc000_0000, Size: 0x2000_0000} // PCI memory below 4 GiB
	ecam     = guestmem.Range{Start: 0xe000_0000, Size: 1 << 20}     // PCI configuration space of bus 0
)

const (
	ioapicAddr = 0xfec0_0000 // where KVM's I/O APIC answers
	lapicAddr  = 0xfee0_0000 // where KVM's local APICs answer

	// KVM on Intel processors without unrestricted guests needs three pages and one page of the guest's address space for itself
	// (KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR).
	identityMapAddr = 0xfffb_c000
	tssAddr         = 0xfffb_d000

	serialIRQ  = 4  // COM1's, by ISA's custom
	buttonIRQ  = 10 // the Generic Event Device's; no legacy device of this machine has it
	hotplugIRQ = 11 // likewise

	// MaxCPUs is the most vCPUs with which a stock kernel was seen to boot. xAPIC identifiers would allow 254, but from 65 on a guest
	// ends by a triple fault when it brings the second one up.
	MaxCPUs = 64

	window64Size = 32 << 30 // PCI memory above RAM
)

// window64 lies above all RAM, aligned to its size, so that it needs few page-table and MTRR entries.
func window64(mem *guestmem.Memory) guestmem.Range {
	end := uint64(4 << 30)
	for _, r := range mem.Regions() {
		end = max(end, r.End())
	}
	start := (end + window64Size - 1) &^ (window64Size - 1)
	return guestmem.Range{Start: start, Size: window64Size}
}
