package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"usui/machine/guestmem"
)

// MaxChain is the largest number of buffers in one chain, and of descriptors in one indirect table. It is QEMU's number,
// so drivers live with it. The specification's own bound is the queue size, but Linux exceeds that with indirect tables.
const MaxChain = 1024

// Flags of a descriptor (virtio 1.2 section 2.7.5). Unknown ones are ignored.
const (
	descNext     = 1 << 0
	descWrite    = 1 << 1
	descIndirect = 1 << 2
)

const descSize = 16

// Chain is one request of the driver: buffers to read from and, after them, buffers to write to. The slices alias guest
// memory, which the driver may change at any time: copy, then check, then use. A Chain may be used for any number of Pops
// and keeps its space between them. Neither list has an empty buffer, but either may be empty.
type Chain struct {
	Head          uint16   // names the chain in [Queue.Push]
	Out, In       [][]byte // device-readable; device-writable
	OutLen, InLen int      // bytes in Out and in In; together at most 4 GiB - 1
}

func (c *Chain) reset() {
	c.Head, c.Out, c.In, c.OutLen, c.InLen = 0, c.Out[:0], c.In[:0], 0, 0
}

// descriptor is a copy of one: the guest cannot change it between check and use.
type descriptor struct {
	addr        uint64
	len         uint32
	flags, next uint16
}

// readDescriptor copies descriptor i, which must be inside the table.
func readDescriptor(table []byte, i uint16) descriptor {
	b := table[int(i)*descSize:][:descSize]
	return descriptor{
		addr:  binary.LittleEndian.Uint64(b),
		len:   binary.LittleEndian.Uint32(b[8:]),
		flags: binary.LittleEndian.Uint16(b[12:]),
		next:  binary.LittleEndian.Uint16(b[14:]),
	}
}

// gather collects the buffers of the chain that begins at head, which is in the queue's table, into an empty c.
func (q *Queue) gather(head uint16, c *Chain) error {
	c.Head = head
	if err := q.walk(c, q.desc, head, false); err != nil {
		c.reset()
		return fmt.Errorf("chain %d: %w", head, err)
	}
	return nil
}

// walk follows a chain through table, from descriptor next on, which is in it. A chain without a loop has no more steps than its table
// has descriptors; the one step into an indirect table is the last in its own.
func (q *Queue) walk(c *Chain, table []byte, next uint16, indirect bool) error {
	n := len(table) / descSize
	for range n {
		d := readDescriptor(table, next)
		if d.flags&descIndirect != 0 {
			if indirect {
				return errors.New("an indirect table inside an indirect table")
			}
			inner, err := q.indirectTable(d)
			if err != nil {
				return err
			}
			return q.walk(c, inner, 0, true)
		}
		if err := c.add(q.mem, d); err != nil {
			return fmt.Errorf("descriptor %d: %w", next, err)
		}
		if d.flags&descNext == 0 {
			return nil
		}
		if next = d.next; int(next) >= n {
			return fmt.Errorf("descriptor %d is outside its table of %d", next, n)
		}
	}
	return fmt.Errorf("a loop: more steps than the %d descriptors of the table", n)
}

// indirectTable gives the table that d refers to (virtio 1.2 section 2.7.5.3).
func (q *Queue) indirectTable(d descriptor) ([]byte, error) {
	switch {
	case !q.indirect:
		return nil, errors.New("an indirect table, which was not negotiated")
	case d.flags&descNext != 0:
		return nil, errors.New("an indirect table that is not the last descriptor")
	case d.len == 0 || d.len%descSize != 0 || d.len > MaxChain*descSize:
		return nil, fmt.Errorf("an indirect table of %d bytes, want 1 to %d descriptors of %d", d.len, MaxChain, descSize)
	}
	table, err := q.mem.Slice(d.addr, uint64(d.len))
	if err != nil {
		return nil, fmt.Errorf("indirect table: %w", err)
	}
	return table, nil
}

// add appends the buffer that d describes.
func (c *Chain) add(mem *guestmem.Memory, d descriptor) error {
	switch {
	case d.len == 0:
		return errors.New("a buffer of 0 bytes")
	case len(c.Out)+len(c.In) == MaxChain:
		return fmt.Errorf("more than %d buffers", MaxChain)
	case d.flags&descWrite == 0 && len(c.In) != 0:
		return errors.New("a buffer to read behind one to write")
	case uint64(c.OutLen)+uint64(c.InLen)+uint64(d.len) > math.MaxUint32: // what the used ring can tell
		return errors.New("4 GiB of buffers or more")
	}
	b, err := mem.Slice(d.addr, uint64(d.len))
	if err != nil {
		return err
	}
	if d.flags&descWrite != 0 {
		c.In, c.InLen = append(c.In, b), c.InLen+len(b)
	} else {
		c.Out, c.OutLen = append(c.Out, b), c.OutLen+len(b)
	}
	return nil
}
