package acpi

import (
	"slices"

	"usui/machine/guestmem"
)

// Resource descriptors (ACPI 6.5 section 6.4): tags of small ones hold their length, large ones have it in two bytes.
const (
	tagIO            = 0x47 // 6.4.2.5, 7 bytes
	tagEnd           = 0x79 // 6.4.2.9, with a checksum byte of 0: none
	tagMemory32Fixed = 0x86 // 6.4.3.4
	tagDWordAddress  = 0x87 // 6.4.3.5.2
	tagWordAddress   = 0x88 // 6.4.3.5.3
	tagInterrupt     = 0x89 // 6.4.3.6
	tagQWordAddress  = 0x8a // 6.4.3.5.1

	ioDecode16      = 1
	memoryReadWrite = 1

	addressMemory    = 0 // resource types of 6.4.3.5
	addressBus       = 2
	addressFixed     = 1<<2 | 1<<3           // minimum and maximum are fixed
	addressConsumer  = 1 << 0                // of a device's own registers, not passed on to a bus
	interruptLevel   = 1 << 0                // consumer, level-triggered, active high, exclusive
	interruptEdge    = interruptLevel | 1<<1 // edge-triggered
	interruptsInList = 1
)

// resources is the buffer of a _CRS.
func resources(descriptors ...[]byte) term {
	return buffer(append(slices.Concat(descriptors...), tagEnd, 0))
}

// ioPorts is n ports from port on.
func ioPorts(port uint16, n byte) []byte {
	d := le.AppendUint16([]byte{tagIO, ioDecode16}, port)
	d = le.AppendUint16(d, port)
	return append(d, 1, n) // alignment, length
}

// interrupt is one GSI, of either kind.
func interrupt(gsi uint32, kind byte) []byte {
	return large(tagInterrupt, le.AppendUint32([]byte{kind, interruptsInList}, gsi))
}

// busNumbers are the PCI buses behind a bridge.
func busNumbers(first, last uint16) []byte {
	d := []byte{addressBus, addressFixed, 0}
	for _, v := range []uint16{0, first, last, 0, last - first + 1} { // as in memoryAddress
		d = le.AppendUint16(d, v)
	}
	return large(tagWordAddress, d)
}

// memoryWindow is memory that a bridge passes on.
func memoryWindow(r guestmem.Range) []byte { return memoryAddress(r, addressFixed) }

// memoryFixed is memory that a device itself answers.
func memoryFixed(r guestmem.Range) []byte {
	if r.Start+r.Size > 1<<32 {
		return memoryAddress(r, addressFixed|addressConsumer)
	}
	d := le.AppendUint32([]byte{memoryReadWrite}, uint32(r.Start))
	return large(tagMemory32Fixed, le.AppendUint32(d, uint32(r.Size)))
}

// memoryAddress is an address space descriptor of the width that r needs.
func memoryAddress(r guestmem.Range, flags byte) []byte {
	fields := []uint64{0, r.Start, r.Start + r.Size - 1, 0, r.Size} // granularity, minimum, maximum, translation, length
	d := []byte{addressMemory, flags, memoryReadWrite}
	if r.Start+r.Size > 1<<32 {
		for _, v := range fields {
			d = le.AppendUint64(d, v)
		}
		return large(tagQWordAddress, d)
	}
	for _, v := range fields {
		d = le.AppendUint32(d, uint32(v))
	}
	return large(tagDWordAddress, d)
}

// large puts tag and length before the content of a large descriptor.
func large(tag byte, content []byte) []byte {
	return append(le.AppendUint16([]byte{tag}, uint16(len(content))), content...)
}
