package blk

import (
	"encoding/binary"
	"time"

	"usui/machine/block"
	"usui/machine/virtio"
)

// Types of requests and their status (virtio 1.2 section 5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13

	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2
)

const (
	headerSize  = 16 // type, reserved, sector
	segmentSize = 16 // of discard and write zeroes: sector, number of sectors, flags
	unmapFlag   = 1 << 0
)

// slot is a request between Pop and Push.
type slot struct {
	head    uint16
	op      block.Op
	began   time.Time
	status  []byte   // the last byte that the device may write; nil when there is none
	data    [][]byte // what Chain calls Out without the header, or In without the status
	length  int64    // bytes of the disk
	done    uint32   // bytes that were written, from the first writable one on, when the request succeeds
	failed  uint32   // the same when it fails: 1 when the status is all there is
	flushed bool     // of a write: the flush behind it was submitted
}

// keptBuffers is how many buffers a free slot keeps room for: what an honest driver sends.
const keptBuffers = segMax + 2

// reset forgets a request but keeps the space for its buffers.
func (s *slot) reset() {
	data := s.data[:0]
	if cap(data) > keptBuffers {
		data = nil
	}
	*s = slot{data: data}
}

// parse reads the request in c into s and r. When submit is false, the request is answered with status instead.
func (q *queue) parse(c *virtio.Chain, s *slot, r *block.Request) (submit bool, status byte) {
	s.head = c.Head
	if c.InLen > 0 {
		last := c.In[len(c.In)-1]
		s.status = last[len(last)-1:]
	}
	if c.InLen == 1 {
		s.done, s.failed = 1, 1
	}
	var header [headerSize]byte
	if c.InLen == 0 || gather(header[:], c.Out) < headerSize {
		return false, statusIOErr
	}
	kind := binary.LittleEndian.Uint32(header[0:])
	sector := binary.LittleEndian.Uint64(header[8:])
	switch kind {
	case typeIn:
		s.op, s.length = block.Read, int64(c.InLen-1)
		s.data = cut(s.data, c.In, 0, c.InLen-1)
		s.done = uint32(c.InLen)
	case typeOut:
		s.op, s.length = block.Write, int64(c.OutLen-headerSize)
		s.data = cut(s.data, c.Out, headerSize, c.OutLen)
	case typeFlush:
		s.op, sector = block.Flush, 0
	case typeGetID:
		s.data = cut(s.data, c.In, 0, c.InLen-1)
		if s.done = uint32(scatter(s.data, q.dev.id[:])); int(s.done) == c.InLen-1 {
			s.done++ // the status follows at once
		}
		return false, statusOK
	case typeDiscard, typeWriteZeroes:
		var ok bool
		if sector, ok = q.parseRange(c, s, kind); !ok {
			return false, statusUnsupported
		}
	default:
		return false, statusUnsupported
	}
	if sector > uint64(q.dev.geometry.Size/sectorSize) { // the backend checks the rest; this keeps the next line from overflowing
		return false, statusIOErr
	}
	*r = block.Request{Op: s.op, Offset: int64(sector) * sectorSize, Length: s.length, Buffers: s.data}
	return true, statusOK
}

// parseRange reads the one segment of a discard or write-zeroes request. ok is false for what was not negotiated and for flags
// that the specification forbids (virtio 1.2 section 5.2.6.2). A range that is too long makes a request that fails.
func (q *queue) parseRange(c *virtio.Chain, s *slot, kind uint32) (sector uint64, ok bool) {
	var b [headerSize + segmentSize]byte
	if gather(b[:], c.Out) < len(b) || c.OutLen != len(b) {
		return 0, false
	}
	sector = binary.LittleEndian.Uint64(b[headerSize:])
	count := binary.LittleEndian.Uint32(b[headerSize+8:])
	flags := binary.LittleEndian.Uint32(b[headerSize+12:])
	feature, allowed := uint64(FeatureDiscard), uint32(0)
	s.op = block.Discard
	if kind == typeWriteZeroes {
		feature, allowed = FeatureWriteZeroes, unmapFlag // may unmap; we never do
		s.op = block.Zero
	}
	if q.features&feature == 0 || flags&^allowed != 0 {
		return 0, false
	}
	s.length = int64(count) * sectorSize
	if count > maxRange {
		sector = ^uint64(0)
	}
	return sector, true
}

// gather copies the first bytes of bufs into b and returns how many there were.
func gather(b []byte, bufs [][]byte) int {
	n := 0
	for _, s := range bufs {
		if n += copy(b[n:], s); n == len(b) {
			break
		}
	}
	return n
}

// scatter copies b into bufs and returns how many bytes fitted.
func scatter(bufs [][]byte, b []byte) int {
	n := 0
	for _, s := range bufs {
		n += copy(s, b[n:])
	}
	return n
}

// cut appends the bytes [from, to) of bufs to list.
func cut(list, bufs [][]byte, from, to int) [][]byte {
	pos := 0
	for _, b := range bufs {
		lo, hi := max(from-pos, 0), min(to-pos, len(b))
		if lo < hi {
			list = append(list, b[lo:hi])
		}
		pos += len(b)
	}
	return list
}
