package engine

import (
	"encoding/binary"
	"hash/crc32"
)

// A record in the log, little-endian, padded to 8 bytes:
//
//	 0 crc    u32  of all that follows but the padding, seeded with the segment's epoch
//	 4 length u32  of the whole, without the padding
//	 8 seq    u64  one more than that of the record before
//	16 expire i64  Unix time in ms, 0 for never
//	24 klen   u32
//	28 op     u8
//	29 back   u24  how many records before this one its batch begins
//	32 key, value
const (
	recordHeader = 32
	alignment    = 8
	maxBack      = 1<<24 - 1
)

// op is what a record does.
type op byte

const (
	opPut    op = 1 // the key has this value
	opDelete op = 2 // the key is gone
	opClear  op = 3 // all keys are gone
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf is where the CRC of a segment's records starts.
func seedOf(epoch uint64) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(nil, epoch), castagnoli)
}

// record is a view of one.
type record []byte

func (r record) length() int    { return int(binary.LittleEndian.Uint32(r[4:])) }
func (r record) padded() int    { return pad(r.length()) }
func (r record) seq() uint64    { return binary.LittleEndian.Uint64(r[8:]) }
func (r record) expire() int64  { return int64(binary.LittleEndian.Uint64(r[16:])) }
func (r record) op() op         { return op(r[28]) }
func (r record) batch() uint64  { return r.seq() - uint64(binary.LittleEndian.Uint32(r[28:])>>8) }
func (r record) keyLength() int { return int(binary.LittleEndian.Uint32(r[24:])) }
func (r record) key() []byte    { return r[recordHeader : recordHeader+r.keyLength()] }
func (r record) value() []byte  { return r[recordHeader+r.keyLength() : r.length()] }
func (r record) sum(s uint32) bool {
	return crc32.Update(s, castagnoli, r[4:r.length()]) == binary.LittleEndian.Uint32(r)
}

func pad(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// appendRecord appends a record, padded, to p.
func appendRecord(p []byte, seed uint32, o op, seq, batch uint64, expire int64, key, value []byte) []byte {
	start, length := len(p), recordHeader+len(key)+len(value)
	le := binary.LittleEndian
	p = le.AppendUint32(p, 0)
	p = le.AppendUint32(p, uint32(length))
	p = le.AppendUint64(p, seq)
	p = le.AppendUint64(p, uint64(expire))
	p = le.AppendUint32(p, uint32(len(key)))
	p = le.AppendUint32(p, uint32(o)|uint32(seq-batch)<<8)
	p = append(append(p, key...), value...)
	le.PutUint32(p[start:], crc32.Update(seed, castagnoli, p[start+4:]))
	for len(p)%alignment != 0 { // batches begin aligned
		p = append(p, 0)
	}
	return p
}

// parse returns the record at the start of p if it is a valid one. p may hold anything.
func parse(p []byte, seed uint32) (record, bool) {
	if len(p) < recordHeader {
		return nil, false
	}
	r := record(p)
	n := r.length()
	if n < recordHeader || n > len(p) || r.keyLength() > n-recordHeader || !r.sum(seed) {
		return nil, false
	}
	return r[:n], r.op() >= opPut && r.op() <= opClear
}
