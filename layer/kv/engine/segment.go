package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync/atomic"

	"usui/layer/kv/disk"
)

// A segment's file begins with two copies of its header, each alone in a block of 4 KiB:
//
//	 0 magic   8 bytes
//	 8 version u32
//	12 state   u32
//	16 number  u64  place in the log
//	24 epoch   u64  random; seeds the CRCs of records
//	32 base    u64  sequence number of a record that was durable when the header was written; no record in the segment has a lower one
//	40 crc     u32  CRC32C of the above
const (
	headerCopy = 4096
	headerSize = 2 * headerCopy
	headerUsed = 44
	version    = 2
)

var magic = []byte("usui-kv\n")

// state says what a segment's file is used for.
type state uint32

const (
	inLog state = 1
	free  state = 2
)

// header is what a segment's file says about itself.
type header struct {
	state               state
	number, epoch, base uint64
}

func (h header) encode() []byte {
	le := binary.LittleEndian
	p := append(make([]byte, 0, headerUsed), magic...)
	p = le.AppendUint32(p, version)
	p = le.AppendUint32(p, uint32(h.state))
	p = le.AppendUint64(p, h.number)
	p = le.AppendUint64(p, h.epoch)
	p = le.AppendUint64(p, h.base)
	return le.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// decodeHeader reads one copy. ok is false if it is not a whole one.
func decodeHeader(p []byte) (h header, ok bool, err error) {
	le := binary.LittleEndian
	if p = p[:headerUsed]; !bytes.Equal(p[:8], magic) || crc32.Checksum(p[:40], castagnoli) != le.Uint32(p[40:]) {
		return h, false, nil
	}
	if v := le.Uint32(p[8:]); v != version {
		return h, false, fmt.Errorf("has format %d; this usui reads format %d", v, version)
	}
	return header{state(le.Uint32(p[12:])), le.Uint64(p[16:]), le.Uint64(p[24:]), le.Uint64(p[32:])}, true, nil
}

// segment is one file of the log.
type segment struct {
	header
	slot    int // number of the file; part of addresses
	file    disk.File
	view    []byte
	seed    uint32
	flushed atomic.Int64 // what lies below this offset is in view
	end     int          // of its records, once the log went on to the next segment
	live    atomic.Int64 // bytes of records that the index knows; those of elements are not among them
	torn    bool         // behind end are the remains of a batch: nothing is appended to it

	collections bool // there are records of elements, or of keys that have a collection
	placed      bool // there are some of values on the device
}

const namePrefix = "segment-"

func segmentName(slot int) string { return fmt.Sprintf("%s%06d", namePrefix, slot) }

// IsOurs says whether a store makes files of that name.
func IsOurs(name string) bool {
	if name == checkpointName || name == deviceName {
		return true
	}
	_, err := slotOf(name)
	return err == nil
}

func slotOf(name string) (int, error) {
	digits, ok := strings.CutPrefix(name, namePrefix)
	slot, err := strconv.Atoi(digits)
	if !ok || err != nil || slot < 0 || segmentName(slot) != name {
		return 0, fmt.Errorf("%s is no file of a store", name)
	}
	return slot, nil
}

// newHeader is a header with an epoch that no file has had.
func newHeader(s state, number, base uint64) header {
	var random [8]byte
	rand.Read(random[:]) // never fails, says its doc comment
	return header{s, number, binary.LittleEndian.Uint64(random[:]), base}
}

// encodeTwice is how a file begins.
func (h header) encodeTwice() []byte {
	p := make([]byte, headerSize)
	copy(p, h.encode())
	copy(p[headerCopy:], h.encode())
	return p
}

// use writes a new header, twice, and makes it durable: after a crash the file has the old one or the new one. The keeper calls it; it changes
// nothing but the file.
func (g *segment) use(h header) error {
	for off := int64(0); off < headerSize; off += headerCopy {
		if err := g.put(h, off); err != nil {
			return err
		}
	}
	return nil
}

// begin makes g an empty segment.
func (g *segment) begin(h header) {
	g.header, g.seed, g.end, g.torn, g.collections, g.placed = h, seedOf(h.epoch), 0, false, false, false
	g.flushed.Store(headerSize)
	g.live.Store(0)
}

func (g *segment) put(h header, off int64) error {
	if _, err := g.file.WriteAt(h.encode(), off); err != nil {
		return err
	}
	return g.file.Sync()
}

// readHeader takes the header from whichever copy is whole. If the two differ, a crash came between them, and settle has to be called
// before the segment changes.
func (g *segment) readHeader() (differ bool, err error) {
	if len(g.view) <= headerSize {
		return false, fmt.Errorf("%s: %d bytes are no segment", segmentName(g.slot), len(g.view))
	}
	first, ok1, err1 := decodeHeader(g.view)
	second, ok2, err2 := decodeHeader(g.view[headerCopy:])
	switch {
	case ok1:
		g.header = first
	case ok2:
		g.header = second
	case err1 != nil:
		return false, fmt.Errorf("%s: %v", segmentName(g.slot), err1)
	case err2 != nil:
		return false, fmt.Errorf("%s: %v", segmentName(g.slot), err2)
	default:
		return false, fmt.Errorf("%s: %w: neither copy of its header is whole", segmentName(g.slot), ErrDamaged)
	}
	g.seed = seedOf(g.epoch)
	return !ok1 || !ok2 || first != second, nil
}

// settle makes both copies of the header the same.
func (g *segment) settle() error {
	for off := int64(headerCopy); off >= 0; off -= headerCopy { // the copy that was read last
		if err := g.put(g.header, off); err != nil {
			return err
		}
	}
	return nil
}
