package tinyguest

import (
	"encoding/binary"
	"fmt"

	"usui/machine/guestmem"
	"usui/machine/kvm"
)

// Where things lie in guest-physical memory. Everything is mapped one to one, the first 4 GiB in pages of 2 MiB, for
// ring 3 too.
const (
	vectorsReal = 0x0000 // 256 of 4 bytes
	gdtAddr     = 0x1000 // fixed descriptors, then two slots for each vCPU's TSS
	tssAddr     = 0x1800 // MaxCPUs of tssBytes
	idtAddr     = 0x2000 // 256 of 16 bytes
	stubsAddr   = 0x3000 // 256 of stubBytes
	pml4Addr    = 0x4000
	pdptAddr    = 0x5000
	pdAddr      = 0x6000 // 4 pages
	stack0Addr  = 0xa000 // MaxCPUs of stackBytes, for ring 0
	stack3Addr  = 0xd000 // likewise, for ring 3

	// CodeAddr is where programs are loaded. A guest's own data may lie behind its code.
	CodeAddr = 0x10000

	// MaxCPUs is how many vCPUs have room for their stacks.
	MaxCPUs = 8

	// ExceptionPort is the port to which the guest writes the number (one byte) of an exception or interrupt for which
	// Config.Vectors has no label. Then it halts.
	ExceptionPort = 0xee

	tssBytes   = 0x80
	stubBytes  = 8
	stackBytes = 0x400
)

// Selectors. Their order is the one that SYSCALL and SYSRET want (AMD64 manual volume 2, section 6.1.1).
const (
	selCode0 = 0x08
	selData0 = 0x10
	selBase3 = 0x18 // what IA32_STAR names for SYSRET; holds 32-bit code, which is never entered
	selData3 = 0x20 | 3
	selCode3 = 0x28 | 3
	selTSS   = 0x30

	// STAR is the value of IA32_STAR for guests that use SYSCALL.
	STAR = selBase3<<48 | selCode0<<32
)

// Bits of control registers, EFER and RFLAGS.
const (
	cr0PE       = 1 << 0
	cr0MP       = 1 << 1
	cr0ET       = 1 << 4
	cr0NE       = 1 << 5
	cr0WP       = 1 << 16
	cr0PG       = 1 << 31
	cr4PAE      = 1 << 5
	cr4OSFXSR   = 1 << 9
	cr4OSXMMEXC = 1 << 10
	eferSCE     = 1 << 0
	eferLME     = 1 << 8
	eferLMA     = 1 << 10
	rflagsOne   = 1 << 1 // always set
)

// load writes code and tables into the guest's memory.
func (p *Program) load(mem *guestmem.Memory, vectors map[uint8]string) error {
	if p.mode == Real && len(p.code) > 1<<16 {
		return fmt.Errorf("%d bytes of code in real mode", len(p.code))
	}
	if _, err := mem.WriteAt(p.code, CodeAddr); err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	low, err := mem.Slice(0, CodeAddr)
	if err != nil {
		return fmt.Errorf("load tables: %w", err)
	}
	writeStubs(low[stubsAddr:])
	handlers, err := p.handlers(vectors)
	if err != nil {
		return err
	}
	if p.mode == Real {
		writeVectors(low[vectorsReal:], handlers)
		return nil
	}
	writeGDT(low)
	writeIDT(low[idtAddr:], handlers)
	writePageTables(low)
	return nil
}

// writeStubs writes, for each vector, code that tells its number and halts. It is the same in 16 and 64 bits.
func writeStubs(p []byte) {
	for v := range 256 {
		copy(p[v*stubBytes:], []byte{
			0xb0, byte(v), // mov al, v
			0xe6, ExceptionPort, // out ExceptionPort, al
			0xf4,       // hlt
			0xeb, 0xfd, // jmp to the hlt
		})
	}
}

// handlers returns where each vector goes.
func (p *Program) handlers(vectors map[uint8]string) (at [256]uint64, err error) {
	for v := range at {
		at[v] = stubsAddr + uint64(v)*stubBytes
	}
	for v, label := range vectors {
		if at[v], err = p.Addr(label); err != nil {
			return at, fmt.Errorf("vector %d: %w", v, err)
		}
	}
	return at, nil
}

// writeVectors writes real mode's table of offsets and segments.
func writeVectors(p []byte, handlers [256]uint64) {
	for v, addr := range handlers {
		base := uint64(0)
		if addr >= CodeAddr {
			base = CodeAddr
		}
		binary.LittleEndian.PutUint16(p[4*v:], uint16(addr-base))
		binary.LittleEndian.PutUint16(p[4*v+2:], uint16(base>>4))
	}
}

// Descriptors (Intel SDM volume 3, sections 3.4.5 and 7.2.3): base 0, limit 4 GiB, present.
const (
	descCode0 = 0x00af9b000000ffff
	descData0 = 0x00cf93000000ffff
	descCode3 = 0x00affb000000ffff
	descData3 = 0x00cff3000000ffff
	descOld3  = 0x00cffb000000ffff // 32-bit code
	tssBusy   = 0x8b
)

// writeGDT writes the descriptors and the task states, of which only the stack of ring 0 is used.
func writeGDT(low []byte) {
	for sel, d := range map[int]uint64{
		selCode0: descCode0, selData0: descData0,
		selBase3: descOld3, selData3 &^ 3: descData3, selCode3 &^ 3: descCode3,
	} {
		binary.LittleEndian.PutUint64(low[gdtAddr+sel:], d)
	}
	for id := range MaxCPUs {
		base := uint64(tssAddr + id*tssBytes)
		d := low[gdtAddr+selTSS+16*id:]
		binary.LittleEndian.PutUint64(d, tssBytes-1|base&0xffffff<<16|tssBusy<<40)
		binary.LittleEndian.PutUint64(d[8:], 0) // the base is below 4 GiB, even below 16 MiB
		binary.LittleEndian.PutUint64(low[base+4:], stackTop(stack0Addr, id))
	}
}

func stackTop(stacks uint64, id int) uint64 { return stacks + uint64(id+1)*stackBytes }

// writeIDT writes interrupt gates of ring 0 that ring 3 may use too.
func writeIDT(p []byte, handlers [256]uint64) {
	const present, forRing3, interruptGate = 0x80, 0x60, 0x0e
	for v, addr := range handlers {
		gate := addr&0xffff | selCode0<<16 | (present|forRing3|interruptGate)<<40 | addr>>16&0xffff<<48
		binary.LittleEndian.PutUint64(p[16*v:], gate)
		binary.LittleEndian.PutUint64(p[16*v+8:], addr>>32)
	}
}

func writePageTables(low []byte) {
	const present, writable, user, large = 1 << 0, 1 << 1, 1 << 2, 1 << 7
	put := binary.LittleEndian.PutUint64
	put(low[pml4Addr:], pdptAddr|present|writable|user)
	for i := range uint64(4) {
		put(low[pdptAddr+8*i:], (pdAddr+0x1000*i)|present|writable|user)
	}
	for i := range uint64(4 * 512) {
		put(low[pdAddr+8*i:], i<<21|present|writable|user|large)
	}
}

// start sets the registers of a new vCPU.
func (g *Guest) start(v *kvm.VCPU) error {
	leaves, err := g.system.SupportedCPUID()
	if err != nil {
		return err
	}
	if err := v.SetCPUID2(leaves); err != nil {
		return err
	}
	sregs, err := v.Sregs()
	if err != nil {
		return err
	}
	regs := kvm.Regs{Rip: CodeAddr, Rsp: stackTop(stack0Addr, v.ID()), Rflags: rflagsOne}
	switch g.Program.mode {
	case Real:
		regs.Rip = 0
		sregs.Cs.Base, sregs.Cs.Selector = CodeAddr, CodeAddr>>4
	case User:
		regs.Rsp = stackTop(stack3Addr, v.ID())
		setLong(&sregs, v.ID(), 3)
	default:
		setLong(&sregs, v.ID(), 0)
	}
	if err := v.SetSregs(&sregs); err != nil {
		return err
	}
	return v.SetRegs(&regs)
}

// setLong makes the system registers those of 64-bit mode at the given ring.
func setLong(s *kvm.Sregs, id int, ring uint8) {
	code, data := uint16(selCode0), uint16(selData0)
	if ring == 3 {
		code, data = selCode3, selData3
	}
	flat := kvm.Segment{Limit: 0xffffffff, Present: 1, Dpl: ring, S: 1, G: 1}
	s.Cs, s.Ds = flat, flat
	s.Cs.Selector, s.Cs.Type, s.Cs.L = code, 0xb, 1  // code, readable, accessed
	s.Ds.Selector, s.Ds.Type, s.Ds.Db = data, 0x3, 1 // data, writable, accessed
	s.Es, s.Fs, s.Gs, s.Ss = s.Ds, s.Ds, s.Ds, s.Ds
	s.Tr = kvm.Segment{
		Base: uint64(tssAddr + id*tssBytes), Limit: tssBytes - 1, Selector: uint16(selTSS + 16*id),
		Type: tssBusy & 0xf, Present: 1,
	}
	s.Gdt = kvm.DTable{Base: gdtAddr, Limit: selTSS + 16*MaxCPUs - 1}
	s.Idt = kvm.DTable{Base: idtAddr, Limit: 256*16 - 1}
	s.Cr0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG
	s.Cr3 = pml4Addr
	s.Cr4 = cr4PAE | cr4OSFXSR | cr4OSXMMEXC
	s.Efer = eferSCE | eferLME | eferLMA
}
