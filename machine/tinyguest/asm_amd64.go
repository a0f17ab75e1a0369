package tinyguest

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// Real is real mode: registers of 32 bits, code within one segment of 64 KiB, data below 64 KiB.
	Real Mode = iota
	// Long is 64-bit mode at ring 0.
	Long
	// User is 64-bit mode at ring 3.
	User
)

// Reg is a general register; in real mode only the first eight exist, 32 bits wide.
type Reg byte

// The registers, with the numbers that instructions give them.
const (
	RAX Reg = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

// Prefixes, and the bits of REX (Intel SDM volume 2, section 2.2.1).
const (
	prefixOperand = 0x66 // the other one of 16 and 32 bits
	prefixAddress = 0x67
	prefixRep     = 0xf3
	rex           = 0x40
	rexW          = 0x48 // operands of 64 bits
)

// op adds an instruction with a register in the low bits of its opcode, in the mode's full width.
func (a *Asm) op(opcode byte, r Reg) {
	switch {
	case a.mode != Real:
		a.Raw(rexW|byte(r)>>3, opcode|byte(r)&7)
	case r < R8:
		a.Raw(prefixOperand, opcode|byte(r))
	default:
		a.fail("register %d in real mode", r)
	}
}

// opRM adds an instruction with ModRM: reg (or an extension of the opcode) and register rm, in the mode's full width.
func (a *Asm) opRM(opcode byte, reg, rm Reg) {
	switch {
	case a.mode != Real:
		a.Raw(rexW|byte(reg)>>3<<2|byte(rm)>>3, opcode, 0xc0|byte(reg)&7<<3|byte(rm)&7)
	case reg < R8 && rm < R8:
		a.Raw(prefixOperand, opcode, 0xc0|byte(reg)<<3|byte(rm))
	default:
		a.fail("registers %d, %d in real mode", reg, rm)
	}
}

// Mov loads a constant into r.
func (a *Asm) Mov(r Reg, value uint64) {
	a.op(0xb8, r)
	if a.mode != Real {
		a.code = binary.LittleEndian.AppendUint64(a.code, value)
		return
	}
	if value > math.MaxUint32 {
		a.fail("constant %#x in real mode", value)
	}
	a.code = binary.LittleEndian.AppendUint32(a.code, uint32(value))
}

// MovLabel loads the address of a label into r: guest-physical, and in real mode the offset in the code's segment.
func (a *Asm) MovLabel(r Reg, label string) {
	a.Mov(r, 0)
	base, width := CodeAddr, 8
	if a.mode == Real {
		base, width = 0, 4
	}
	a.uses = append(a.uses, use{len(a.code) - width, label, func(code []byte, at, target int) error {
		binary.LittleEndian.PutUint32(code[at:], uint32(base+target)) // all addresses here are below 4 GiB
		return nil
	}})
}

// MovReg copies src to dst.
func (a *Asm) MovReg(dst, src Reg) { a.opRM(0x89, src, dst) }

// Inc adds 1 to r.
func (a *Asm) Inc(r Reg) { a.opRM(0xff, 0, r) }

// Dec takes 1 from r.
func (a *Asm) Dec(r Reg) { a.opRM(0xff, 1, r) }

// Add adds a constant to r.
func (a *Asm) Add(r Reg, value int32) { a.immediate(0, r, value) }

// Cmp compares r with a constant, for JZ and JNZ.
func (a *Asm) Cmp(r Reg, value int32) { a.immediate(7, r, value) }

func (a *Asm) immediate(extension byte, r Reg, value int32) {
	a.opRM(0x81, Reg(extension), r)
	a.code = binary.LittleEndian.AppendUint32(a.code, uint32(value))
}

// Jmp jumps.
func (a *Asm) Jmp(label string) { a.jump(label, 0xe9) }

// JZ jumps when the last result was zero, or equal.
func (a *Asm) JZ(label string) { a.jump(label, 0x0f, 0x84) }

// JNZ jumps when the last result was not.
func (a *Asm) JNZ(label string) { a.jump(label, 0x0f, 0x85) }

func (a *Asm) jump(label string, opcode ...byte) {
	width := 4
	if a.mode == Real {
		width = 2
	}
	a.refer(label, len(opcode), func(code []byte, at, target int) error {
		distance := target - (at + width)
		if width == 4 {
			binary.LittleEndian.PutUint32(code[at:], uint32(int32(distance)))
			return nil
		}
		if distance != int(int16(distance)) {
			return fmt.Errorf("%d bytes away", distance)
		}
		binary.LittleEndian.PutUint16(code[at:], uint16(int16(distance)))
		return nil
	}, append(opcode, make([]byte, width)...)...)
}

// sized adds an opcode for an operand of 1, 2, 4 or, in 64-bit mode, 8 bytes. The opcode is the one for a byte, the wider
// ones are one above it. rexBits is 0 or a REX prefix.
func (a *Asm) sized(size int, rexBits, opcode byte) {
	native := 4 // the width without a prefix, beside a byte
	if a.mode == Real {
		native, rexBits = 2, 0
	}
	switch {
	case size == 1:
	case size == native:
		opcode |= 1
	case size == 2 || size == 4:
		a.Raw(prefixOperand)
		opcode |= 1
	case size == 8 && a.mode != Real:
		rexBits |= rexW
		opcode |= 1
	default:
		a.fail("operand of %d bytes", size)
	}
	if rexBits != 0 {
		a.Raw(rexBits)
	}
	a.Raw(opcode)
}

// In reads from a port into AL, AX or EAX. Ports above 0xff go through RDX, which is lost.
func (a *Asm) In(port uint16, size int) { a.io(0xe4, 0xec, port, size) }

// Out writes AL, AX or EAX to a port. Ports above 0xff go through RDX, which is lost.
func (a *Asm) Out(port uint16, size int) { a.io(0xe6, 0xee, port, size) }

func (a *Asm) io(immediate, dx byte, port uint16, size int) {
	if size == 8 {
		a.fail("port access of 8 bytes")
	}
	if port <= math.MaxUint8 {
		a.sized(size, 0, immediate)
		a.Raw(byte(port))
		return
	}
	a.Mov(RDX, uint64(port))
	a.sized(size, 0, dx)
}

// RepOut writes RCX units of size bytes from memory at RSI to the port in DX.
func (a *Asm) RepOut(size int) {
	a.Raw(prefixRep)
	a.sized(size, 0, 0x6e)
}

// RepIn reads RCX units of size bytes from the port in DX to memory at RDI.
func (a *Asm) RepIn(size int) {
	a.Raw(prefixRep)
	a.sized(size, 0, 0x6c)
}

// Load reads size bytes at base+offset into dst. One and two bytes leave the rest of dst as it was.
func (a *Asm) Load(size int, dst, base Reg, offset int32) { a.memory(0x8a, size, dst, base, offset) }

// Store writes the low size bytes of src to base+offset.
func (a *Asm) Store(size int, base Reg, offset int32, src Reg) {
	a.memory(0x88, size, src, base, offset)
}

func (a *Asm) memory(opcode byte, size int, reg, base Reg, offset int32) {
	if a.mode == Real {
		if reg >= R8 || base >= R8 || size == 1 && reg >= RSP {
			a.fail("registers %d, %d in real mode", reg, base) // 4 to 7 would be AH to BH as bytes
		}
		a.Raw(prefixAddress)
	}
	a.sized(size, rex|byte(reg)>>3<<2|byte(base)>>3, opcode)
	a.Raw(0x80 | byte(reg)&7<<3 | byte(base)&7) // ModRM: base and 32 bits of offset
	if base&7 == RSP {
		a.Raw(0x24) // SIB: the base alone
	}
	a.code = binary.LittleEndian.AppendUint32(a.code, uint32(offset))
}

// Nop does nothing.
func (a *Asm) Nop() { a.Raw(0x90) }

// Pause hints at a loop that waits.
func (a *Asm) Pause() { a.Raw(0xf3, 0x90) }

// Hlt waits for an interrupt.
func (a *Asm) Hlt() { a.Raw(0xf4) }

// Cli disables interrupts.
func (a *Asm) Cli() { a.Raw(0xfa) }

// Sti enables interrupts after the next instruction.
func (a *Asm) Sti() { a.Raw(0xfb) }

// Int raises a software interrupt.
func (a *Asm) Int(vector byte) { a.Raw(0xcd, vector) }

// Ud2 raises an invalid-opcode exception.
func (a *Asm) Ud2() { a.Raw(0x0f, 0x0b) }

// Cpuid asks for leaf EAX, ECX.
func (a *Asm) Cpuid() { a.Raw(0x0f, 0xa2) }

// Rdtsc reads the time stamp counter into EDX:EAX.
func (a *Asm) Rdtsc() { a.Raw(0x0f, 0x31) }

// Rdmsr reads register ECX into EDX:EAX.
func (a *Asm) Rdmsr() { a.Raw(0x0f, 0x32) }

// Wrmsr writes EDX:EAX to register ECX.
func (a *Asm) Wrmsr() { a.Raw(0x0f, 0x30) }

// Vmcall is a hypercall on Intel's processors.
func (a *Asm) Vmcall() { a.Raw(0x0f, 0x01, 0xc1) }

// Vmmcall is a hypercall on AMD's processors.
func (a *Asm) Vmmcall() { a.Raw(0x0f, 0x01, 0xd9) }

// Iret returns from an interrupt or exception, in the mode's own width.
func (a *Asm) Iret() {
	if a.mode != Real {
		a.Raw(rexW)
	}
	a.Raw(0xcf)
}

// Syscall enters ring 0 at IA32_LSTAR.
func (a *Asm) Syscall() { a.Raw(0x0f, 0x05) }

// Sysret returns to 64-bit code at ring 3.
func (a *Asm) Sysret() {
	if a.mode == Real {
		a.fail("sysret in real mode")
	}
	a.Raw(rexW, 0x0f, 0x07)
}
