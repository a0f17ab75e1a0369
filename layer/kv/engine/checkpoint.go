package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A checkpoint's file is of use to the machine that wrote it, whose byte order it has. It begins with a header, which is written last:
//
//	 0 magic   8 bytes
//	 8 order   u64  a constant: who reads another one has another byte order
//	16 version u32
//	20 segment u32  size of a segment
//	24 key     2 u64, of the hashes
//	40 slot    u64  where the log goes on: segment,
//	48 offset  u64
//	56 seq     u64  and the last record before that
//	64 last    u64  where that record is in the segment; 0 if there is none
//	72 size    u64  of the file
//	80 sum     u32  CRC32C of the CRCs of all parts
//	84 crc     u32  CRC32C of the above
//
// From headerCopy on there are parts:
//
//	 0 crc     u32  CRC32C of all that follows
//	 4 kind    u32
//	 8 length  u64  of the content
//	16 prefix  u32  of a table: its first tag
//	20 depth   u32  of a table
//	24 content
//
// The content of a table is its words; of the segments, a mark of 32 bytes for each: slot u32, flags u32, epoch, live bytes and end of its records u64; of what was
// removed, 16 bytes for each: entry, bucket u64; of the collections that there are, their ids, u64.
const (
	checkpointName    = "checkpoint"
	checkpointVersion = 2
	checkpointUsed    = 88
	byteOrder         = 0x0102030405060708
	partHeader        = 24
	markBytes         = 32
	removedBytes      = 16
)

var checkpointMagic = []byte("usui-kvc")

type partKind uint32

const (
	partSegments partKind = 1
	partTable    partKind = 2
	partRemoved  partKind = 3
	partAlive    partKind = 4
)

// part is one of those that a checkpoint consists of.
type part struct {
	kind          partKind
	prefix, depth uint32
	content       []byte
}

// head is how a part begins.
func (p *part) head() []byte {
	ne := binary.NativeEndian
	h := make([]byte, partHeader)
	ne.PutUint32(h[4:], uint32(p.kind))
	ne.PutUint64(h[8:], uint64(len(p.content)))
	ne.PutUint32(h[16:], p.prefix)
	ne.PutUint32(h[20:], p.depth)
	ne.PutUint32(h, crc32.Update(crc32.Checksum(h[4:], castagnoli), castagnoli, p.content))
	return h
}

// position is a place in the log.
type position struct {
	slot int
	off  int
	seq  uint64 // of the last record before it
	last int    // offset of that record in the segment; 0 if there is none
}

// mark is what a checkpoint says of a segment.
type mark struct {
	slot        int
	epoch       uint64
	live        int64
	end         int  // of its records
	collections bool // there are some of elements, or of keys that have a collection
	placed      bool // or of values on the device
}

// Flags of a segment.
const (
	flagCollections = 1 << iota
	flagPlaced
)

func (m mark) append(p []byte) []byte {
	ne := binary.NativeEndian
	flags := uint32(0)
	if m.collections {
		flags = flagCollections
	}
	if m.placed {
		flags |= flagPlaced
	}
	p = ne.AppendUint32(p, uint32(m.slot))
	p = ne.AppendUint32(p, flags)
	p = ne.AppendUint64(p, m.epoch)
	p = ne.AppendUint64(p, uint64(m.live))
	return ne.AppendUint64(p, uint64(m.end))
}

// checkpoint is the index as it was at a place in the log.
type checkpoint struct {
	segmentBytes int
	key          hashKey
	at           position

	alive map[uint64]bool // ids of the collections that there were
	marks []mark
	parts []part // tables, in the order of their tags, and what was removed
	bytes int
}

// encode is the header.
func (c *checkpoint) encode(size int64, sum uint32) []byte {
	ne := binary.NativeEndian
	p := append(make([]byte, 0, checkpointUsed), checkpointMagic...)
	p = ne.AppendUint64(p, byteOrder)
	p = ne.AppendUint32(p, checkpointVersion)
	p = ne.AppendUint32(p, uint32(c.segmentBytes))
	p = ne.AppendUint64(p, c.key[0])
	p = ne.AppendUint64(p, c.key[1])
	p = ne.AppendUint64(p, uint64(c.at.slot))
	p = ne.AppendUint64(p, uint64(c.at.off))
	p = ne.AppendUint64(p, c.at.seq)
	p = ne.AppendUint64(p, uint64(c.at.last))
	p = ne.AppendUint64(p, uint64(size))
	p = ne.AppendUint32(p, sum)
	return ne.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

var errTorn = errors.New("it is not whole")

// decodeCheckpoint reads a file, which may hold anything. What it returns is whole, and may still not fit the log.
func decodeCheckpoint(p []byte) (*checkpoint, error) {
	ne := binary.NativeEndian
	switch {
	case len(p) < headerCopy || !bytes.Equal(p[:8], checkpointMagic):
		return nil, errTorn
	case ne.Uint64(p[8:]) != byteOrder:
		return nil, errors.New("it has another byte order")
	case crc32.Checksum(p[:checkpointUsed-4], castagnoli) != ne.Uint32(p[checkpointUsed-4:]):
		return nil, errTorn
	case ne.Uint32(p[16:]) != checkpointVersion:
		return nil, fmt.Errorf("it has format %d; this usui reads format %d", ne.Uint32(p[16:]), checkpointVersion)
	case ne.Uint64(p[72:]) != uint64(len(p)):
		return nil, errTorn
	}
	c := &checkpoint{
		segmentBytes: int(ne.Uint32(p[20:])),
		key:          hashKey{ne.Uint64(p[24:]), ne.Uint64(p[32:])},
		at:           position{int(ne.Uint64(p[40:])), int(ne.Uint64(p[48:])), ne.Uint64(p[56:]), int(ne.Uint64(p[64:]))},
		bytes:        len(p),
		alive:        map[uint64]bool{},
	}
	var sum uint32
	for rest := p[headerCopy:]; len(rest) > 0; {
		if len(rest) < partHeader {
			return nil, errTorn
		}
		length := ne.Uint64(rest[8:])
		if length > uint64(len(rest)-partHeader) {
			return nil, errTorn
		}
		body := rest[partHeader : partHeader+int(length)]
		sum = crc32.Update(sum, castagnoli, rest[:4])
		if crc32.Checksum(rest[4:partHeader+int(length)], castagnoli) != ne.Uint32(rest) {
			return nil, errTorn
		}
		if err := c.add(part{partKind(ne.Uint32(rest[4:])), ne.Uint32(rest[16:]), ne.Uint32(rest[20:]), body}); err != nil {
			return nil, err
		}
		rest = rest[partHeader+int(length):]
	}
	if sum != ne.Uint32(p[80:]) {
		return nil, errTorn
	}
	return c, nil
}

// add takes a part that checks.
func (c *checkpoint) add(p part) error {
	switch n := len(p.content); {
	case p.kind == partSegments && n%markBytes == 0:
		ne := binary.NativeEndian
		for m := p.content; len(m) > 0; m = m[markBytes:] {
			c.marks = append(c.marks, mark{
				int(ne.Uint32(m)), ne.Uint64(m[8:]), int64(ne.Uint64(m[16:])), int(ne.Uint64(m[24:])), ne.Uint32(m[4:])&flagCollections != 0, ne.Uint32(m[4:])&flagPlaced != 0,
			})
		}
	case p.kind == partAlive && n%idBytes == 0:
		for ids := p.content; len(ids) > 0; ids = ids[idBytes:] {
			c.alive[binary.NativeEndian.Uint64(ids)] = true
		}
	case p.kind == partTable && n == tableBytes, p.kind == partRemoved && n%removedBytes == 0:
		c.parts = append(c.parts, p)
	default:
		return fmt.Errorf("a part of kind %d has %d bytes", p.kind, n)
	}
	return nil
}
