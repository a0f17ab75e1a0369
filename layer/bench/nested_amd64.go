package bench

import (
	"encoding/binary"
	"fmt"

	"usui/machine/kvm"
)

// Where the nested guest's state lies in its hypervisor's memory.
const (
	vmcbAddr  = 0x50000
	hsaveAddr = 0x51000 // the processor's own, while the nested guest runs
	mapAddr   = 0x52000 // 3 pages, by which all ports and registers are intercepted
)

// Bits and numbers of AMD64 manual volume 2, section 15 and appendices B and C.
const (
	msrHSavePA      = 0xc0010117
	eferSVME        = 1 << 12
	interceptVMRUN  = 1 << 0 // in the word at 0x10; must be set
	attributesCode  = 0xa9b  // 64 bits, ring 0
	attributesData  = 0xc93
	attributesTSS   = 0x08b
	vmcbIOMap       = 0x40 // address of 3 pages, a bit for each port
	vmcbMSRMap      = 0x48 // address of 2 pages, two bits for each register
	vmcbASID        = 0x58
	vmcbExitCode    = 0x70
	vmcbSegments    = 0x400 // ES, CS, SS, DS, FS, GS, GDTR, LDTR, IDTR, TR, 16 bytes each
	vmcbEFER        = 0x4d0
	vmcbCR4         = 0x548 // then CR3, CR0, DR7, DR6, RFLAGS, RIP, 8 bytes each
	vmcbRSP         = 0x5d8
	vmcbRAX         = 0x5f8
	leafFeatures    = 1
	leafAMDFeatures = 0x80000001
	vmxFeature      = 1 << 5 // in ECX of leafFeatures
	svmFeature      = 1 << 2 // in ECX of leafAMDFeatures
)

// nestedCases run a guest inside the guest, which does what other cases do.
func nestedCases() []Case {
	var list []Case
	for _, payload := range []struct {
		name, what string
		op         func(code)
		word, bit  int    // of the VMCB, that intercepts it
		exit       uint64 // its code
	}{
		{"cpuid", "CPUID", func(c code) { c.Cpuid() }, 0x0c, 18, 0x72},
		{"hypercall", "VMMCALL", func(c code) { c.Vmmcall() }, 0x10, 1, 0x81},
		{"port-out", "OUT", func(c code) { c.Out(userPort, 1) }, 0x0c, 27, 0x7b},
		{"port-in", "IN", func(c code) { c.In(userPort, 1) }, 0x0c, 27, 0x7b},
		{"msr-read", "RDMSR", func(c code) { c.Rdmsr() }, 0x0c, 28, 0x7c},
		{"cr0-write", "write of CR0", func(c code) { c.Raw(0x0f, 0x22, 0xc0) }, 0x00, 16, 0x10}, // mov cr0, rax
		{"dr7-write", "write of DR7", func(c code) { c.Raw(0x0f, 0x23, 0xf8) }, 0x04, 23, 0x37}, // mov dr7, rax
	} {
		list = append(list, Case{"nested-" + payload.name, "nested", payload.what + " of a guest inside the guest: to its hypervisor, which enters it again", recipe{
			opened:    func(r *rig) error { return openNested(r, payload.word, payload.bit) },
			registers: func(r *kvm.Regs) { r.Rax, r.Rcx = vmcbAddr, msrKernelGSBase },
			op:        func(c code) { c.Raw(0x0f, 0x01, 0xd8) }, // vmrun
			handlers: func(c code) {
				c.Label("nested") // it is intercepted, so the nested guest never gets beyond it
				payload.op(c)
				c.Jmp("nested")
			},
			verify:       func(r *rig, _ int) error { return verifyNested(r, payload.exit) },
			instructions: 1, exits: span{2, 3}, // VMRUN and the payload
		}})
	}
	return list
}

// openNested makes the guest a hypervisor with a guest of its own, which shares its page tables, and of which it intercepts what
// a bit of the VMCB says.
func openNested(r *rig, word, bit int) error {
	if err := nestable(r.machine.system); err != nil {
		return err
	}
	sregs, err := r.cpu.Sregs()
	if err != nil {
		return err
	}
	sregs.Efer |= eferSVME
	if err := r.cpu.SetSregs(&sregs); err != nil {
		return refused(err)
	}
	if _, err := r.cpu.SetMSRs([]kvm.MSREntry{{Index: msrHSavePA, Data: hsaveAddr}}); err != nil {
		return refused(err)
	}
	vmcb, err := r.guest.Memory.Slice(vmcbAddr, pageBytes)
	if err != nil {
		return err
	}
	at, err := r.guest.Program.Addr("nested")
	if err != nil {
		return err
	}
	writeVMCB(vmcb, &sregs, at)
	vmcb[word+bit/8] |= 1 << (bit % 8)
	intercepts, err := r.guest.Memory.Slice(mapAddr, 3*pageBytes)
	for i := range intercepts {
		intercepts[i] = 0xff
	}
	return err
}

// nestable says why a guest of this KVM cannot have guests.
func nestable(system *kvm.System) error {
	leaves, err := system.SupportedCPUID()
	if err != nil {
		return err
	}
	why := na("this KVM offers its guests no virtualization")
	for _, l := range leaves {
		switch {
		case l.Function == leafAMDFeatures && l.Ecx&svmFeature != 0:
			return nil
		case l.Function == leafFeatures && l.Ecx&vmxFeature != 0:
			why = na("this KVM offers its guests VMX; only SVM is measured")
		}
	}
	return why
}

// writeVMCB describes a nested guest that begins at rip, and is its hypervisor's twin in all else.
func writeVMCB(vmcb []byte, s *kvm.Sregs, rip uint64) {
	le := binary.LittleEndian
	clear(vmcb)
	le.PutUint32(vmcb[0x10:], interceptVMRUN)
	le.PutUint64(vmcb[vmcbIOMap:], mapAddr)
	le.PutUint64(vmcb[vmcbMSRMap:], mapAddr)
	le.PutUint32(vmcb[vmcbASID:], 1) // 0 is the hypervisor's
	for i, seg := range []struct {
		selector, attributes uint16
		limit                uint32
		base                 uint64
	}{
		{s.Es.Selector, attributesData, s.Es.Limit, 0},
		{s.Cs.Selector, attributesCode, s.Cs.Limit, 0},
		{s.Ss.Selector, attributesData, s.Ss.Limit, 0},
		{s.Ds.Selector, attributesData, s.Ds.Limit, 0},
		{s.Fs.Selector, attributesData, s.Fs.Limit, 0},
		{s.Gs.Selector, attributesData, s.Gs.Limit, 0},
		{0, 0, uint32(s.Gdt.Limit), s.Gdt.Base},
		{},
		{0, 0, uint32(s.Idt.Limit), s.Idt.Base},
		{s.Tr.Selector, attributesTSS, s.Tr.Limit, s.Tr.Base},
	} {
		p := vmcb[vmcbSegments+16*i:]
		le.PutUint16(p, seg.selector)
		le.PutUint16(p[2:], seg.attributes)
		le.PutUint32(p[4:], seg.limit)
		le.PutUint64(p[8:], seg.base)
	}
	le.PutUint64(vmcb[vmcbEFER:], s.Efer)
	const dr7, dr6, rflags = 0x400, 0xffff0ff0, 1 << 1 // nothing but the bits that are always set
	for i, v := range []uint64{s.Cr4, s.Cr3, s.Cr0, dr7, dr6, rflags, rip} {
		le.PutUint64(vmcb[vmcbCR4+8*i:], v)
	}
	le.PutUint64(vmcb[vmcbRSP:], rip) // never used
	le.PutUint64(vmcb[vmcbRAX:], s.Cr0)
}

// verifyNested wants that the nested guest came as far as its payload.
func verifyNested(r *rig, exit uint64) error {
	vmcb, err := r.guest.Memory.Slice(vmcbAddr, pageBytes)
	if err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(vmcb[vmcbExitCode:]); got != exit {
		return fmt.Errorf("the nested guest ended with %#x, want %#x", got, exit)
	}
	return nil
}
