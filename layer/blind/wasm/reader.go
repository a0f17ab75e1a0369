package wasm

import (
	"errors"
	"fmt"
)

// errShort is a module that ends within something.
var errShort = errors.New("unexpected end")

// reader takes values off the front of bytes. After an error it returns zeros, and err stays the first one.
type reader struct {
	bytes []byte
	pos   int
	err   error
}

func (r *reader) left() int { return len(r.bytes) - r.pos }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.pos = len(r.bytes)
}

func (r *reader) byte() byte {
	if r.pos >= len(r.bytes) {
		r.fail(errShort)
		return 0
	}
	b := r.bytes[r.pos]
	r.pos++
	return b
}

// take returns the next n bytes, which are those of the module and not a copy.
func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.fail(errShort)
		return nil
	}
	b := r.bytes[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

// u32 reads an unsigned LEB128 number of 32 bits.
func (r *reader) u32() uint32 {
	if r.pos < len(r.bytes) && r.bytes[r.pos] < 0x80 { // nearly always
		r.pos++
		return uint32(r.bytes[r.pos-1])
	}
	return uint32(r.unsigned(32))
}

// u64 reads an unsigned LEB128 number of 64 bits.
func (r *reader) u64() uint64 { return r.unsigned(64) }

func (r *reader) unsigned(bits uint) uint64 {
	var v uint64
	for shift := uint(0); shift < bits; shift += 7 {
		b := r.byte()
		if rest := bits - shift; rest < 7 && b>>rest != 0 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.fail(fmt.Errorf("number at %#x does not fit in %d bits", r.pos, bits))
	return 0
}

// signed reads a signed LEB128 number of that many bits.
func (r *reader) signed(bits uint) int64 {
	var v int64
	for shift := uint(0); shift < bits; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if rest := bits - shift; rest < 7 { // the last byte: what is above the number repeats its sign
			if high := int8(b<<1) >> rest; b >= 0x80 || high != 0 && high != -1 {
				break
			}
		}
		if b < 0x80 {
			if used := shift + 7; used < 64 && b&0x40 != 0 {
				v |= -1 << used
			}
			return v
		}
	}
	r.fail(fmt.Errorf("number at %#x does not fit in %d bits", r.pos, bits))
	return 0
}

// count reads the length of a vector whose elements take at least size bytes each.
func (r *reader) count(size int) uint32 {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(r.left()) {
		r.fail(fmt.Errorf("%d elements in %d bytes", n, r.left()))
		return 0
	}
	return n
}
