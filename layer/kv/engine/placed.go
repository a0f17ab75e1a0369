package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
)

// Device is memory that keeps what it has over a restart, and in which long values stay where they were received. The log has a record of where.
// Its owner gives its frames to others; one that is held for a value he leaves alone. The goroutine of the store calls it.
type Device interface {
	// Bytes is a piece, nil if that is not all in one frame of the device.
	Bytes(p Piece) []byte
	// Flush makes pieces durable.
	Flush(pieces []Piece) error
	// Hold holds the frame of a piece once more, for a value; nothing is held when a store is opened.
	Hold(p Piece)
	// Depart says that the value is gone, and that Release will be called for the piece: it gives up one hold.
	Depart(p Piece)
	Release(p Piece)
	// Forget says that all values are gone that have not departed yet; what it returns gives up their holds, and is nil if there are none.
	Forget() (release func())
	// Scarce says that few frames are free: values are to be moved into the log.
	Scarce() bool
}

// Piece is where a part of a value lies on a device.
type Piece struct {
	Off uint64
	Len uint32
}

// kindPlaced is the kind, in records only, of a string that lies on a device. The value of the record is
//
//	0 crc    u32  CRC32C of the string
//	4 length u32
//	8 pieces, 12 bytes for each: offset u64, length u32
const (
	kindPlaced   collection.Kind = kindMask
	placedHeader                 = 8
	pieceBytes                   = 12
)

// ErrNoDevice is the error of [Open] for a store with values on a device that it was not given.
var ErrNoDevice = errors.New("values of this store are on a device: serve it with --devdax")

// placed says that the record is of a string on a device.
func (r record) placed() bool { return r.op() == opPut && r.kind() == kindPlaced }

// placedWell says whether the value of such a record is one.
func placedWell(v []byte) bool {
	if len(v) < placedHeader+pieceBytes || (len(v)-placedHeader)%pieceBytes != 0 {
		return false
	}
	sum := uint64(0)
	for p := v[placedHeader:]; len(p) > 0; p = p[pieceBytes:] {
		sum += uint64(binary.LittleEndian.Uint32(p[8:]))
	}
	return sum == uint64(placedLength(v))
}

func placedLength(v []byte) int { return int(binary.LittleEndian.Uint32(v[4:])) }

// pieces calls f with each piece of a placed record.
func (r record) pieces(f func(p Piece)) {
	le := binary.LittleEndian
	for p := r.value()[placedHeader:]; len(p) > 0; p = p[pieceBytes:] {
		f(Piece{le.Uint64(p), le.Uint32(p[8:])})
	}
}

// PutPlaced is [Store.Put] for a value that lies on the store's device, whose pieces are held by [Device.Hold]. The store takes these holds over, unless it
// fails.
func (s *Store) PutPlaced(key []byte, pieces []Piece, expire int64) error {
	if err := s.opt.Device.Flush(pieces); err != nil {
		return s.seal(err)
	}
	le := binary.LittleEndian
	v := append(s.scratch[:0], 0, 0, 0, 0, 0, 0, 0, 0)
	crc, length := uint32(0), 0
	for _, p := range pieces {
		crc = crc32.Update(crc, castagnoli, s.opt.Device.Bytes(p))
		length += int(p.Len)
		v = le.AppendUint32(le.AppendUint64(v, p.Off), p.Len)
	}
	le.PutUint32(v, crc)
	le.PutUint32(v[4:], uint32(length))
	s.scratch = v
	hash := s.hash(key)
	a, err := s.append(&draft{op: opPut, kind: kindPlaced, expire: expire, key: key, value: v}, s.pendingOf(hash))
	if err != nil {
		return err
	}
	s.stats.Placed++
	return s.applied(s.point(hash, key, a))
}

// fetch returns the string of a placed record, in one piece, or false if it has rotted or its device is another one.
func (s *Store) fetch(r record) ([]byte, bool) {
	v, crc := r.value(), uint32(0)
	var all [][]byte
	ok := true
	r.pieces(func(p Piece) {
		var b []byte
		if s.opt.Device != nil {
			b = s.opt.Device.Bytes(p)
		}
		ok = ok && b != nil
		all = append(all, b)
		crc = crc32.Update(crc, castagnoli, b)
	})
	if !ok || crc != binary.LittleEndian.Uint32(v) {
		return nil, false
	}
	if len(all) == 1 {
		return all[0], true
	}
	return bytes.Join(all, nil), true // memory of its own: callers may have several values at once
}

// depart takes note of a placed record to which the index does not lead any more: its frames are free when what took its place is durable.
func (s *Store) depart(r record) {
	if !s.open {
		return // nothing is held yet
	}
	d := departed{seq: s.seq.Load()}
	r.pieces(func(p Piece) {
		s.opt.Device.Depart(p)
		d.pieces = append(d.pieces, p)
	})
	s.gone = append(s.gone, d)
}

// departAll is depart for all values.
func (s *Store) departAll() {
	if s.opt.Device == nil {
		return
	}
	if f := s.opt.Device.Forget(); f != nil {
		s.gone = append(s.gone, departed{seq: s.seq.Load(), forget: f})
	}
}

// expirePlaced removes a key whose value on the device has expired, by a record: its frames are given to others then, so that it must not come back, should the
// clock be set back. It says false if the key stays, because there may be no record now. Room for one is made by compaction, so that no address is good after it.
func (s *Store) expirePlaced(key []byte) bool {
	if s.Sealed() != nil || s.group.depth > 0 {
		return false
	}
	hash := s.hash(key)
	if _, r := s.lookup(hash, key); r == nil || !r.placed() || r.expire() > s.now() {
		return true
	}
	if _, err := s.append(&draft{op: opDelete, key: key}, s.pendingOf(hash)); err != nil {
		return false
	}
	if p, r := s.lookup(hash, key); r != nil {
		s.drop(&p, r)
	}
	s.expired.Add(1)
	return s.applied(nil) == nil
}

// departed is what is released when a record is durable.
type departed struct {
	seq    uint64
	pieces []Piece
	forget func() // instead, for all
}

// releaseDeparted gives frames back.
func (s *Store) releaseDeparted() {
	n := 0
	for n < len(s.gone) && s.gone[n].seq <= s.durable.Load() {
		for _, p := range s.gone[n].pieces {
			s.opt.Device.Release(p)
		}
		if f := s.gone[n].forget; f != nil {
			f()
		}
		n++
	}
	clear(s.gone[:n])
	s.gone = s.gone[n:]
}

// holdPlaced holds the frames of all values on the device, and verifies them.
func (s *Store) holdPlaced() error {
	for _, g := range s.log {
		if !g.placed {
			continue
		}
		if err := s.records(g, s.hold); err != nil {
			return err
		}
	}
	return nil
}

// hold holds the frames of a record's value, if it is on the device and the index leads to it.
func (s *Store) hold(r record, a address) error {
	if !r.placed() {
		return nil
	}
	if _, live := s.leadsTo(r, a); !live {
		return nil
	}
	if s.opt.Device == nil {
		return ErrNoDevice
	}
	if _, ok := s.fetch(r); !ok {
		return fmt.Errorf("%w: the value of record %d is not on the device", ErrDamaged, r.seq())
	}
	r.pieces(s.opt.Device.Hold)
	return nil
}

// leadsTo says whether the index leads to a record of a key, and where it has it.
func (s *Store) leadsTo(r record, a address) (place, bool) {
	hash := s.hash(r.key())
	p := s.indexOf(hash).find(hash)
	for found, ok := p.next(); ok; found, ok = p.next() {
		if found == a {
			return p, true
		}
	}
	return p, false
}

// deviceName is the file that has the identity of the store's device.
const deviceName = "device"

// Identity is what a device and the folder of a store have in common.
type Identity [16]byte

// BindDevice compares the identity of a device, zeros for none, with that in a folder, which is the first 16 bytes of a file. A device of another store is
// refused. bind is to be called when the store is open: it makes the identity of both that of the folder, or fresh if that has none. set gives the
// device an identity, durably.
func BindDevice(folder disk.Folder, fresh, has Identity, set func(Identity) error) (bind func() error, err error) {
	names, err := folder.Names()
	if err != nil {
		return nil, err
	}
	var own Identity
	for _, n := range names {
		if n == deviceName {
			f, err := folder.Open(deviceName)
			if err != nil {
				return nil, err
			}
			copy(own[:], f.View())
			if err := f.Close(); err != nil {
				return nil, err
			}
		}
	}
	none := Identity{}
	switch {
	case own != none && own == has:
		return func() error { return nil }, nil
	case has != none:
		return nil, errors.New("it belongs to another store; if nobody needs that any more, clear its first block, as with daxio --zero --len 4k --output /dev/dax0.0")
	}
	return func() error {
		if own == none {
			own = fresh
			f, err := folder.Create(deviceName, own[:], headerCopy)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return set(own) // after the folder's: a crash between the two is mended here
	}, nil
}
