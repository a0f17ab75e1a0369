package engine

import (
	"encoding/binary"
	"hash/crc32"

	"usui/layer/kv/collection"
)

// A record in the log, little-endian, padded to 8 bytes:
//
//	 0 crc    u32  of all that follows but the padding, seeded with the segment's epoch
//	 4 length u32  of the whole, without the padding
//	 8 seq    u64  one more than that of the record before
//	16 expire i64  Unix time in ms, 0 for never
//	24 klen   u32
//	28 what   u8   3 bits of op, 4 of kind, 1 that says that the next record belongs to the same group
//	29 back   u24  how many records before this one its batch begins
//	32 key, value
//
// The key of an element is the id of its collection, 8 bytes, and its own. The value of a key that has a collection is that id. For a string that lies on
// a device see kindPlaced.
const (
	recordHeader = 32
	alignment    = 8
	idBytes      = 8
	maxBack      = 1<<24 - 1

	opBits   = 3
	kindMask = 0xf
	moreFlag = 0x80
)

// op is what a record does.
type op byte

const (
	opPut           op = 1 // the key has this value, or this collection
	opDelete        op = 2 // the key is gone
	opClear         op = 3 // all keys are gone
	opPutElement    op = 4 // the element of a collection has this value
	opDeleteElement op = 5 // the element is gone
)

// isElement says that the key begins with the id of a collection.
func (o op) isElement() bool { return o == opPutElement || o == opDeleteElement }

// adds says that a record takes room that a full disk has for deletions only.
func (o op) adds() bool { return o == opPut || o == opPutElement }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf is where the CRC of a segment's records starts.
func seedOf(epoch uint64) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(nil, epoch), castagnoli)
}

// record is a view of one.
type record []byte

func (r record) length() int           { return int(binary.LittleEndian.Uint32(r[4:])) }
func (r record) padded() int           { return pad(r.length()) }
func (r record) seq() uint64           { return binary.LittleEndian.Uint64(r[8:]) }
func (r record) expire() int64         { return int64(binary.LittleEndian.Uint64(r[16:])) }
func (r record) op() op                { return op(r[28] & (1<<opBits - 1)) }
func (r record) kind() collection.Kind { return collection.Kind(r[28] >> opBits & kindMask) }
func (r record) more() bool            { return r[28]&moreFlag != 0 }
func (r record) batch() uint64         { return r.seq() - uint64(binary.LittleEndian.Uint32(r[28:])>>8) }
func (r record) keyLength() int        { return int(binary.LittleEndian.Uint32(r[24:])) }
func (r record) key() []byte           { return r[recordHeader : recordHeader+r.keyLength()] }
func (r record) value() []byte         { return r[recordHeader+r.keyLength() : r.length()] }
func (r record) crc(seed uint32) uint32 {
	return crc32.Update(seed, castagnoli, r[4:r.length()])
}

// element is the key of an element in its collection.
func (r record) element() []byte { return r.key()[idBytes:] }

// heads says that the record gives a key a collection.
func (r record) heads() bool {
	return r.op() == opPut && r.kind() != collection.String && r.kind() != kindPlaced
}

// id is the collection's that an element belongs to, or that a key has.
func (r record) id() uint64 {
	if r.op().isElement() {
		return binary.LittleEndian.Uint64(r.key())
	}
	return binary.LittleEndian.Uint64(r.value())
}

// wellFormed says whether a record whose CRC is right has a key and a value as its op and kind need them.
func (r record) wellFormed() bool {
	switch o := r.op(); {
	case o.isElement():
		return r.keyLength() >= idBytes && collection.WellFormed(r.kind(), r.element(), r.value(), o == opPutElement)
	case r.placed():
		return placedWell(r.value())
	case r.heads():
		return r.kind() <= collection.ZSet && len(r.value()) == idBytes
	default:
		return r.kind() == collection.String && o >= opPut && o <= opClear
	}
}

func pad(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// draft is a record to be written.
type draft struct {
	op         op
	kind       collection.Kind
	more       bool
	expire     int64
	id         uint64 // goes before the key of an element, and is the value of a key that has a collection
	key, value []byte
	parts      [][]byte // more of value, of a string
}

// headed says that the id of a collection is part of it.
func (d *draft) headed() bool { return d.kind != collection.String && d.kind != kindPlaced }

// size is that of the record with its padding.
func (d *draft) size() int {
	n := recordHeader + len(d.key) + len(d.value)
	for _, p := range d.parts {
		n += len(p)
	}
	if d.headed() {
		n += idBytes
	}
	return pad(n)
}

// append appends the record, padded, to p.
func (d *draft) append(p []byte, seed uint32, seq, batch uint64) []byte {
	start, klen := len(p), len(d.key)
	if d.op.isElement() {
		klen += idBytes
	}
	what := uint32(d.op) | uint32(d.kind)<<opBits
	if d.more {
		what |= moreFlag
	}
	le := binary.LittleEndian
	p = append(p, 0, 0, 0, 0, 0, 0, 0, 0) // crc and length
	p = le.AppendUint64(p, seq)
	p = le.AppendUint64(p, uint64(d.expire))
	p = le.AppendUint32(p, uint32(klen))
	p = le.AppendUint32(p, what|uint32(seq-batch)<<8)
	switch {
	case d.op.isElement():
		p = append(append(le.AppendUint64(p, d.id), d.key...), d.value...)
	case d.headed():
		p = le.AppendUint64(append(p, d.key...), d.id)
	default:
		p = append(append(p, d.key...), d.value...)
		for _, part := range d.parts {
			p = append(p, part...)
		}
	}
	r := record(p[start:])
	le.PutUint32(r[4:], uint32(len(r)))
	le.PutUint32(r, r.crc(seed))
	for len(p)%alignment != 0 { // batches begin aligned
		p = append(p, 0)
	}
	return p
}

// last makes r, which was written with more to follow, the end of its group.
func (r record) last(seed uint32) {
	r[28] &^= moreFlag
	binary.LittleEndian.PutUint32(r, r.crc(seed))
}

// parse returns the record at the start of p if it is a valid one. p may hold anything.
func parse(p []byte, seed uint32) (record, bool) {
	r, ok := shape(p)
	return r, ok && r.crc(seed) == binary.LittleEndian.Uint32(r)
}

// shape is parse without the CRC: what it returns can be read, and may say anything.
func shape(p []byte) (record, bool) {
	if len(p) < recordHeader {
		return nil, false
	}
	r := record(p)
	n := r.length()
	if n < recordHeader || n > len(p) || r.keyLength() > n-recordHeader {
		return nil, false
	}
	return r[:n], r[:n].wellFormed()
}
