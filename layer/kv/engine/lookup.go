package engine

import (
	"bytes"
	cryptorand "crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/dchest/siphash"
)

// hashKey is what clients do not know, so that they cannot choose keys that meet in one bucket. It is kept with checkpoints.
type hashKey [2]uint64

func newHashKey() hashKey {
	var random [16]byte
	cryptorand.Read(random[:]) // never fails, says its doc comment
	return hashKey{binary.NativeEndian.Uint64(random[:]), binary.NativeEndian.Uint64(random[8:])}
}

func (k hashKey) hash(key []byte) uint64 { return siphash.Hash(k[0], k[1], key) }

func (s *Store) hash(key []byte) uint64 { return s.key.hash(key) }

// lookup returns the record of a key, expired or not, and where the index has it.
func (s *Store) lookup(hash uint64, key []byte) (place, record) {
	p := s.indexOf(hash).find(hash)
	for {
		a, ok := p.next()
		if !ok {
			return p, nil
		}
		if r := s.known(a); r != nil && bytes.Equal(r.key(), key) {
			return p, r
		}
	}
}

// drop takes the record that lookup found out of the index.
func (s *Store) drop(p *place, r record) {
	s.leave(r, p.address())
	s.replaces(p)
	s.indexOf(p.tag << tagShift).remove(p)
}

// move makes an entry lead to a copy of its record.
func (s *Store) move(p *place, r record, to address) {
	s.weighKey(p.address(), -int64(r.padded()))
	s.weighKey(to, int64(s.at(to).padded()))
	s.replaces(p)
	s.indexOf(p.tag<<tagShift).set(p, to, r.expire() != 0)
}

// locate returns the segment of an address, and the offset in it.
func (s *Store) locate(a address) (*segment, int) {
	size := uint64(s.opt.SegmentBytes / alignment)
	return (*s.slots.Load())[uint64(a)/size], int(uint64(a) % size * alignment)
}

// at returns the record at an address, which was read or appended since the store was opened.
func (s *Store) at(a address) record {
	r := record(s.from(a))
	return r[:r.length()]
}

// known returns the record at an address of the index. Those from before a checkpoint were not looked at when it was loaded, and may have rotted
// since they were written. One that is none that a key has seals the store, and is nil.
func (s *Store) known(a address) record {
	r, ok := shape(s.from(a))
	if !ok || r.op() != opPut || r.heads() && s.collections.get(r.id()) == nil {
		g, off := s.locate(a)
		_ = s.seal(fmt.Errorf("%w: %s at %#x", ErrDamaged, segmentName(g.slot), off)) // each later write returns it
		return nil
	}
	return r
}

// from is the log from an address on, in its batch if it is not written yet. Only an address from a checkpoint that lies has nothing there.
//
// A batch leaves growing after it came into flying, and flying after what it has came into the view: who finds it in neither finds it there.
func (s *Store) from(a address) []byte {
	g, off := s.locate(a)
	if off < int(g.flushed.Load()) {
		return g.view[off:]
	}
	if p := s.growing.Load().from(g, off); p != nil {
		return p
	}
	if p := s.flying.Load().from(g, off); p != nil {
		return p
	}
	if off < int(g.flushed.Load()) {
		return g.view[off:]
	}
	return nil
}
