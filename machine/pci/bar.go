package pci

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"usui/machine/guestmem"
)

const (
	minBARSize  = 4096 // a page, so that no two BARs share one
	numBARs     = 6    // type 0 header
	bar64       = 0b100
	barTypeBits = 0xf
)

// Region is the bytes behind a BAR. Accesses may have any size and alignment and come from several vCPUs at once, but
// they always lie inside the BAR.
type Region interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// BAR describes a base address register for memory. The zero value is a register that is not there.
type BAR struct {
	Size   uint64 // bytes, a power of two from 4 KiB; up to 2 GiB unless Wide
	Wide   bool   // 64 bits wide: takes the next register too
	Region Region
}

// check says what is wrong with BAR i of bars.
func (b BAR) check(i int, bars *[numBARs]BAR) error {
	switch {
	case b == BAR{}:
		return nil
	case b.Size < minBARSize || bits.OnesCount64(b.Size) != 1:
		return fmt.Errorf("BAR %d of %d bytes: not a power of two from %d", i, b.Size, minBARSize)
	case b.Region == nil:
		return fmt.Errorf("BAR %d: nothing behind it", i)
	case !b.Wide && b.Size > 1<<31:
		return fmt.Errorf("BAR %d of %#x bytes: too large for 32 bits", i, b.Size)
	case b.Wide && (i+1 == numBARs || bars[i+1] != BAR{}):
		return fmt.Errorf("BAR %d: no free register behind it for its upper half", i)
	}
	return nil
}

// barState is a BAR on the bus: what the guest asks for, and what it got. Bus.mu guards all that changes.
type barState struct {
	f      *Function
	index  int
	size   uint64
	addr   uint64 // in the register
	decode bool   // memory space is enabled in the command register
	mapped *mapping
	warned bool // about this address
}

// mapping is one line of the table of a bus. It never changes.
type mapping struct {
	guestmem.Range
	f     *Function
	index int
}

// barAddress reads a BAR out of the registers.
func barAddress(config *[configSize]byte, i int, wide bool) uint64 {
	reg := config[regBAR0+4*i:]
	if wide {
		return binary.LittleEndian.Uint64(reg) &^ barTypeBits
	}
	return uint64(binary.LittleEndian.Uint32(reg)) &^ barTypeBits
}
