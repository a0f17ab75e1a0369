package wasm

import "fmt"

// The readers here look at sections that are copied as they are. They hold that counts and lengths fit the bytes, because an engine that
// is given the module next may allocate what a number says before it looks.

func (r *reader) elements(size int, element func()) {
	for range r.count(size) {
		if element(); r.err != nil {
			return
		}
	}
}

// expression reads a constant expression.
func (r *reader) expression() {
	s := NewScanner(r.bytes[r.pos:])
	for s.Next() {
		continue
	}
	if s.Err() != nil {
		r.fail(s.Err())
		return
	}
	r.pos += s.Pos()
}

func (r *reader) table() {
	initialized := r.pos < len(r.bytes) && r.bytes[r.pos] == 0x40
	if initialized {
		r.take(2)
	}
	r.valueType()
	r.limits()
	if initialized {
		r.expression()
	}
}

func (r *reader) global() {
	r.valueType()
	r.byte()
	r.expression()
}

func (r *reader) export() {
	r.take(r.u32())
	r.byte()
	r.u32()
}

func (r *reader) tag() {
	r.byte()
	r.u32()
}

// elementSegment reads one of the eight forms that chapter 5.5.12 has: bit 0 of the flags says that it is not active, bit 1 that it names a table or
// is declarative, bit 2 that its elements are expressions.
func (r *reader) elementSegment() {
	flags := r.u32()
	if flags > 7 {
		r.fail(fmt.Errorf("element segment of unknown kind %d", flags))
		return
	}
	if flags&1 == 0 {
		if flags&2 != 0 {
			r.u32()
		}
		r.expression()
	}
	if expressions := flags&4 != 0; expressions {
		if flags&3 != 0 {
			r.valueType()
		}
		r.elements(2, r.expression)
		return
	}
	if flags&3 != 0 {
		r.byte()
	}
	r.elements(1, func() { r.u32() })
}

func (r *reader) dataSegment() {
	switch kind := r.u32(); kind {
	case 0:
		r.expression()
	case 1:
	case 2:
		r.u32()
		r.expression()
	default:
		r.fail(fmt.Errorf("data segment of unknown kind %d", kind))
	}
	r.take(r.u32())
}

// names reads the custom section "name".
func (r *reader) names() {
	for r.left() > 0 && r.err == nil {
		id := r.byte()
		part := &reader{bytes: r.take(r.u32())}
		if r.err != nil {
			return
		}
		switch id {
		case 0: // of the module
			part.take(part.u32())
		case 1: // of functions
			part.nameMap()
		case 2: // of locals
			part.elements(2, func() {
				part.u32()
				part.nameMap()
			})
		}
		if part.err != nil {
			r.fail(part.err)
		}
	}
}

func (r *reader) nameMap() {
	r.elements(2, func() {
		r.u32()
		r.take(r.u32())
	})
}
