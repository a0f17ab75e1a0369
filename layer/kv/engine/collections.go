package engine

import (
	"fmt"

	"usui/layer/kv/collection"
)

// Collection is what a key has that is no string. Its elements are records of their own.
type Collection struct {
	Kind     collection.Kind
	Elements collection.Elements

	id      uint64
	pending *uint64 // what readers of any of its elements wait for: that of the key; nil without one
	heads   int     // keys that have it: one, and two in the middle of a RENAME
	bytes   int64   // of the records of its elements
	gone    bool    // no key has it any more
}

// NewCollection makes an empty collection that no key has yet. What is put into it is invisible, also after a crash, until [Store.PutCollection]
// gives it to a key; that makes something large appear at once. [Store.Discard] gives it up.
func (s *Store) NewCollection(k collection.Kind) *Collection {
	c := &Collection{Kind: k, Elements: collection.New(k, s.opt.Limits), id: s.newID()}
	s.collections.add(c)
	return c
}

// newID is one that no collection has had.
func (s *Store) newID() uint64 {
	s.lockLog()
	defer s.unlockLog()
	s.lastID = max(s.lastID, s.seq.Load()) + 1
	return s.lastID
}

// Discard gives a collection up that no key has got.
func (s *Store) Discard(c *Collection) {
	if c.heads == 0 {
		s.dismiss(c)
	}
}

// dismiss takes leave of a collection, whatever its size, in one step.
func (s *Store) dismiss(c *Collection) {
	if !c.gone {
		c.gone = true
		s.collections.remove(c)
		s.live.Add(-c.bytes)
	}
}

// PutCollection gives a key a collection, and an expiry, 0 for never. A key may get the one that it has, or that another key has which is
// deleted in the same group.
func (s *Store) PutCollection(key []byte, c *Collection, expire int64) error {
	hash := s.hash(key)
	a, err := s.append(&draft{op: opPut, kind: c.Kind, expire: expire, key: key, id: c.id}, s.pendingOf(hash))
	if err != nil {
		return err
	}
	return s.applied(s.point(hash, key, a))
}

// PutElement gives an element of a collection a value, which must not be one that [Store.Value] returned.
func (s *Store) PutElement(c *Collection, key, value []byte) error {
	a, err := s.append(&draft{op: opPutElement, kind: c.Kind, id: c.id, key: key, value: value}, c.pending)
	if err != nil {
		return err
	}
	s.place(c, s.at(a), a)
	return s.applied(nil)
}

// DeleteElement takes an element out of a collection, and says whether it was there. A key whose collection is empty is to be deleted in
// the same group.
func (s *Store) DeleteElement(c *Collection, key []byte) (bool, error) {
	if c.Elements.Find(key) == 0 {
		return false, nil
	}
	if _, err := s.append(&draft{op: opDeleteElement, kind: c.Kind, id: c.id, key: key}, c.pending); err != nil {
		return false, err
	}
	s.displace(c, key)
	return true, s.applied(nil)
}

// Value returns the value of an element, whose address its collection knows. It is valid until the next call of a method that writes or
// collects.
func (s *Store) Value(at uint64) []byte { return s.at(address(at)).value() }

// place takes note of an element's record that was just read or appended.
func (s *Store) place(c *Collection, r record, a address) {
	if c.gone { // it expired under the hands of its writer
		return
	}
	s.weigh(c, int64(r.padded()))
	if old := c.Elements.Set(r.element(), r.value(), uint64(a)); old != 0 {
		s.weigh(c, -int64(s.at(address(old)).padded()))
	}
}

func (s *Store) displace(c *Collection, key []byte) {
	if old := c.Elements.Remove(key); old != 0 {
		s.weigh(c, -int64(s.at(address(old)).padded()))
	}
}

func (s *Store) weigh(c *Collection, bytes int64) {
	c.bytes += bytes
	s.live.Add(bytes)
}

// collectionOf returns the collection that a record of the log speaks of. While the log is read, the first record that names one makes it:
// compaction has put keys and elements into any order.
func (s *Store) collectionOf(r record) (*Collection, error) {
	id, kind := r.id(), r.kind()
	c := s.collections.get(id)
	if c == nil {
		c = &Collection{Kind: kind, Elements: collection.New(kind, s.opt.Limits), id: id}
		if c.Elements == nil {
			return nil, fmt.Errorf("%w: record %d is of kind %d, which this usui does not know", ErrDamaged, r.seq(), kind)
		}
		s.collections.add(c)
		s.lastID = max(s.lastID, id)
	}
	if c.Kind != kind {
		return nil, fmt.Errorf("%w: record %d makes a %v of a %v", ErrDamaged, r.seq(), kind, c.Kind)
	}
	return c, nil
}

// collectionWith is the collection that the record of a key gives it, nil for a string.
func (s *Store) collectionWith(r record) *Collection {
	if !r.heads() {
		return nil
	}
	return s.collections.get(r.id())
}

// applyElement repeats what an element's record did.
func (s *Store) applyElement(r record, a address) error {
	c, err := s.collectionOf(r)
	if err != nil {
		return err
	}
	if r.op() == opPutElement {
		s.place(c, r, a)
	} else {
		s.displace(c, r.element())
	}
	return nil
}

// discardOrphans gives up the collections that no key has after the log was read: a crash came before their key was written, or the key
// went and left them to compaction.
func (s *Store) discardOrphans() {
	for c := range s.collections.all() {
		s.Discard(c)
	}
}
