package tinyguest

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// EL1 is a kernel's mode: 64-bit, MMU and interrupts off. With the MMU off memory is like a device's: unaligned
// accesses fault.
const EL1 Mode = 0

// Reg is a general register, X0 to X30. As the source of Store, 31 is zero.
type Reg uint32

func (a *Asm) word(w uint32) { a.code = binary.LittleEndian.AppendUint32(a.code, w) }

// Mov loads a constant into r, in four instructions (MOVZ, MOVK).
func (a *Asm) Mov(r Reg, value uint64) {
	for i := range uint32(4) {
		opcode := uint32(0xf2800000)
		if i == 0 {
			opcode = 0xd2800000
		}
		a.word(opcode | i<<21 | uint32(value>>(16*i)&0xffff)<<5 | uint32(r))
	}
}

// Add sets dst to src plus a constant below 4096.
func (a *Asm) Add(dst, src Reg, value uint32) { a.immediate(0x91000000, dst, src, value) }

// Subs sets dst to src minus a constant below 4096, and the flags for BEQ and BNE.
func (a *Asm) Subs(dst, src Reg, value uint32) { a.immediate(0xf1000000, dst, src, value) }

func (a *Asm) immediate(opcode uint32, dst, src Reg, value uint32) {
	if value > 0xfff {
		a.fail("constant %#x", value)
	}
	a.word(opcode | value<<10 | uint32(src)<<5 | uint32(dst))
}

// B jumps.
func (a *Asm) B(label string) { a.branch(label, 0x14000000, 26, 0) }

// BEQ jumps when the last result was zero.
func (a *Asm) BEQ(label string) { a.branch(label, 0x54000000, 19, 5) }

// BNE jumps when the last result was not.
func (a *Asm) BNE(label string) { a.branch(label, 0x54000001, 19, 5) }

// branch adds a jump whose distance in words has the given width and place.
func (a *Asm) branch(label string, opcode uint32, width, shift int) {
	a.refer(label, 0, func(code []byte, at, target int) error {
		distance := (target - at) / 4
		if limit := 1 << (width - 1); distance < -limit || distance >= limit {
			return fmt.Errorf("%d instructions away", distance)
		}
		field := uint32(distance) & (1<<width - 1)
		binary.LittleEndian.PutUint32(code[at:], opcode|field<<shift)
		return nil
	}, make([]byte, 4)...)
}

// Load reads size bytes (1, 2, 4 or 8) at base+offset into dst and clears the rest of it. offset is a multiple of size.
func (a *Asm) Load(size int, dst, base Reg, offset uint32) {
	a.memory(0x39400000, size, dst, base, offset)
}

// Store writes the low size bytes (1, 2, 4 or 8) of src to base+offset. offset is a multiple of size.
func (a *Asm) Store(size int, base Reg, offset uint32, src Reg) {
	a.memory(0x39000000, size, src, base, offset)
}

func (a *Asm) memory(opcode uint32, size int, reg, base Reg, offset uint32) {
	if size != 1 && size != 2 && size != 4 && size != 8 {
		a.fail("operand of %d bytes", size)
		return
	}
	scaled := offset / uint32(size)
	if offset%uint32(size) != 0 || scaled > 0xfff {
		a.fail("offset %#x of %d bytes", offset, size)
	}
	log2 := uint32(bits.TrailingZeros(uint(size)))
	a.word(opcode | log2<<30 | scaled<<10 | uint32(base)<<5 | uint32(reg))
}

// Hvc is a hypercall: the function in X0 (PSCI and SMCCC), its result too.
func (a *Asm) Hvc() { a.word(0xd4000002) }

// Wfi waits for an interrupt.
func (a *Asm) Wfi() { a.word(0xd503207f) }

// Nop does nothing.
func (a *Asm) Nop() { a.word(0xd503201f) }
