package vmm

import (
	"usui/machine/boot"
	"usui/machine/kvm"
)

// Bits of control registers (Intel SDM volume 3, 2.5) and segment types (3.4.5.1, 3.5).
const (
	cr0PE, cr0ET, cr0NE, cr0WP, cr0PG = 1 << 0, 1 << 4, 1 << 5, 1 << 16, 1 << 31
	cr4PAE                            = 1 << 5
	eferLME, eferLMA                  = 1 << 8, 1 << 10

	typeCode, typeData, typeTSS = 11, 3, 11 // execute/read and read/write, both accessed; busy task state segment

	// The descriptor table that boot.Load writes (see [boot.Protocol]).
	selectorCode, selectorData, selectorTSS = 0x10, 0x18, 0x20

	tssLimit = 0x67 // of the smallest 32-bit or 64-bit task state segment
)

// setSystemRegisters puts the boot processor into the state that entry's protocol asks for; see [boot.Protocol] for each value.
func setSystemRegisters(s *kvm.Sregs, entry boot.Entry) {
	code := flatSegment(selectorCode, typeCode)
	data := flatSegment(selectorData, typeData)
	s.Cr0, s.Cr4, s.Efer = cr0PE|cr0ET, 0, 0
	if entry.Protocol == boot.Linux64 {
		code.L, code.Db = 1, 0
		s.Cr0 |= cr0NE | cr0WP | cr0PG
		s.Cr4 = cr4PAE
		s.Efer = eferLME | eferLMA
		s.Cr3 = entry.CR3
	}
	s.Cs = code
	s.Ds, s.Es, s.Fs, s.Gs, s.Ss = data, data, data, data, data
	s.Tr = kvm.Segment{Selector: selectorTSS, Type: typeTSS, Present: 1, Limit: tssLimit}
	s.Ldt = kvm.Segment{Unusable: 1}
	s.Gdt = kvm.DTable{Base: entry.GDT.Start, Limit: uint16(entry.GDT.Size - 1)}
	s.Idt = kvm.DTable{}
}

// flatSegment covers the first 4 GiB with 32-bit operands.
func flatSegment(selector uint16, kind uint8) kvm.Segment {
	return kvm.Segment{Selector: selector, Type: kind, Present: 1, S: 1, Db: 1, G: 1, Limit: 0xffff_ffff}
}
