package engine

import (
	"errors"
	"slices"
)

// Sizes of the index. A table of 1.1 MiB holds some 80,000 keys; splitting it takes about a millisecond.
const (
	bucketBits   = 14
	buckets      = 1 << bucketBits
	overflows    = buckets / 8
	bucketWords  = 8 // a cache line: seven entries and the number of an overflow bucket
	entries      = bucketWords - 1
	tableBytes   = (buckets + overflows) * bucketWords * 8
	tagBits      = 24
	tagShift     = 64 - tagBits
	maxDepth     = 14 // bits: 16,384 tables, a billion keys
	addressBits  = tagShift - 1
	addressLimit = 1 << addressBits
	expires      = addressLimit // the bit between tag and address
)

// address is where a record lies: (slot * size of a segment + offset) / 8. Zero is none, for segments begin with a header.
type address uint64

// index finds addresses by hash. The upper 24 bits of a hash are an entry's tag; of these, the upper ones choose the shard, whose index this is, and the next ones the
// table. The lower 14 choose the bucket.
type index struct {
	skip      uint     // upper bits that all hashes share
	directory []uint16 // number of the table for each value of the upper depth bits but these
	depth     uint     // skip or more
	tables    []*table
	loaded    []*table // see load; empty otherwise
	count     int      // entries in all tables
	expiring  int      // of those with an expiry
	pool      pool
}

type table struct {
	memory []byte
	words  []uint64
	depth  uint // how many bits all its tags share
	used   int  // overflow buckets in use
}

func (x *index) newTable(depth uint) (*table, error) {
	p, err := x.pool.take()
	if err != nil {
		return nil, err
	}
	return &table{memory: p, words: wordsOf(p), depth: depth}, nil
}

func newIndex(skip uint) (*index, error) {
	x := &index{skip: skip, directory: []uint16{0}, depth: skip}
	t, err := x.newTable(skip)
	if err != nil {
		return nil, err
	}
	x.tables = []*table{t}
	return x, nil
}

// clear takes all entries out. Should it fail, there is none nevertheless.
func (x *index) clear() error {
	if x.count == 0 && len(x.tables) == 1 {
		return nil
	}
	p, err := x.pool.again()
	*x = index{skip: x.skip, directory: []uint16{0}, depth: x.skip, tables: []*table{{memory: p, words: wordsOf(p), depth: x.skip}}, pool: x.pool}
	return err
}

func (x *index) close() error {
	x.tables = nil
	return x.pool.close()
}

func (x *index) tableOf(hash uint64) *table { return x.tables[x.numberOf(hash)] }

func (x *index) numberOf(hash uint64) uint16 {
	return x.directory[hash<<x.skip>>(64-x.depth+x.skip)] // a shift by 64 gives 0
}

// place is a walk along the entries that may be those of a key.
type place struct {
	t      *table
	tag    uint64
	bucket int
	at     int // index of the word that next looks at
}

// touch reads the bucket of a hash, so that it is in a cache when find comes. Reads of several buckets overlap, where finds would wait for
// one after the other.
func (x *index) touch(hash uint64) uint64 {
	return x.tableOf(hash).words[int(hash&(buckets-1))*bucketWords]
}

func (x *index) find(hash uint64) place {
	bucket := int(hash & (buckets - 1))
	return place{x.tableOf(hash), hash >> tagShift, bucket, bucket * bucketWords}
}

// next returns the next address with the tag. The entry is then at p.at-1.
func (p *place) next() (address, bool) {
	for {
		for p.at%bucketWords < entries {
			e := p.t.words[p.at]
			p.at++
			if e != 0 && e>>tagShift == p.tag {
				return addressIn(e), true
			}
		}
		link := p.t.words[p.at]
		if link == 0 {
			return 0, false
		}
		p.at = overflowWord(link)
	}
}

// address is what next returned.
func (p *place) address() address { return addressIn(p.t.words[p.at-1]) }

// set replaces the entry that next returned.
func (x *index) set(p *place, a address, expiring bool) {
	e := &p.t.words[p.at-1]
	x.weigh(*e, -1)
	*e = entryOf(p.tag, a, expiring)
	x.weigh(*e, 1)
}

// weigh counts an entry that comes or goes.
func (x *index) weigh(entry uint64, n int) {
	if entry&expires != 0 {
		x.expiring += n
	}
}

// entryOf is an entry: a tag, whether the record has an expiry, and its address.
func entryOf(tag uint64, a address, expiring bool) uint64 {
	e := tag<<tagShift | uint64(a)
	if expiring {
		e |= expires
	}
	return e
}

func addressIn(entry uint64) address { return address(entry & (addressLimit - 1)) }

// remove takes the entry out that next returned: the last one of the chain moves into its place.
func (x *index) remove(p *place) {
	start := p.at - 1
	last := start
	for bucket := start - start%bucketWords; ; {
		for i := range entries {
			if p.t.words[bucket+i] != 0 {
				last = bucket + i
			}
		}
		link := p.t.words[bucket+entries]
		if link == 0 {
			break
		}
		bucket = overflowWord(link)
	}
	x.weigh(p.t.words[start], -1)
	p.t.words[start] = p.t.words[last]
	p.t.words[last] = 0
	x.count--
}

func overflowWord(link uint64) int { return (buckets + int(link) - 1) * bucketWords }

// insert adds an entry. The key has none yet.
func (x *index) insert(hash uint64, a address, expiring bool) error {
	for {
		t := x.tableOf(hash)
		if e := entryOf(hash>>tagShift, a, expiring); t.insert(int(hash&(buckets-1)), e) {
			x.count++
			x.weigh(e, 1)
			return nil
		}
		if err := x.split(hash); err != nil {
			return err
		}
	}
}

// insert says false if the table has no room for it.
func (t *table) insert(bucket int, entry uint64) bool {
	at := bucket * bucketWords
	for {
		for i := range entries {
			if t.words[at+i] == 0 {
				t.words[at+i] = entry
				return true
			}
		}
		link := t.words[at+entries]
		if link == 0 {
			if t.used == overflows {
				return false
			}
			t.used++
			link = uint64(t.used)
			t.words[at+entries] = link
		}
		at = overflowWord(link)
	}
}

// errCrowded cannot happen by chance: it takes hundreds of thousands of keys whose hashes share 24 bits.
var errCrowded = errors.New("the index cannot split further")

// split makes two tables of the one that hash belongs to.
func (x *index) split(hash uint64) error {
	number := x.numberOf(hash)
	old := x.tables[number]
	if old.depth == maxDepth {
		return errCrowded
	}
	var half [2]*table
	for i := range half {
		t, err := x.newTable(old.depth + 1)
		if err != nil {
			if i > 0 {
				x.pool.give(half[0].memory)
			}
			return err
		}
		half[i] = t
	}
	for b := range buckets {
		old.each(b, func(e uint64) { // cannot fail: each half gets a part of what the whole had room for
			half[e>>(63-old.depth)&1].insert(b, e)
		})
	}
	if old.depth == x.depth {
		doubled := make([]uint16, 0, 2*len(x.directory))
		for _, n := range x.directory {
			doubled = append(doubled, n, n)
		}
		x.directory, x.depth = doubled, x.depth+1
	}
	x.tables[number] = half[0]
	x.tables = append(x.tables, half[1])
	first := slices.Index(x.directory, number)
	span := 1 << (x.depth - old.depth)
	for i := first + span/2; i < first+span; i++ {
		x.directory[i] = uint16(len(x.tables) - 1)
	}
	x.pool.give(old.memory)
	return nil
}

// each calls f with the entries of a bucket and of those linked to it.
func (t *table) each(bucket int, f func(entry uint64)) {
	for at := bucket * bucketWords; ; {
		for i := range entries {
			if e := t.words[at+i]; e != 0 {
				f(e)
			}
		}
		link := t.words[at+entries]
		if link == 0 {
			return
		}
		at = overflowWord(link)
	}
}

// walkEntries calls f with all entries of the bucket at cursor and returns the cursor of the next bucket of all indexes, 0 behind the last. The order is that
// of hashes, so that a split between two calls repeats entries and leaves out none.
func (x *index) walkEntries(cursor uint64, f func(entry uint64)) uint64 {
	tag, bucket := cursor>>bucketBits&(1<<tagBits-1), int(cursor&(buckets-1))
	t := x.tableOf(tag << tagShift)
	t.each(bucket, f)
	if bucket++; bucket < buckets {
		return tag<<bucketBits | uint64(bucket)
	}
	return behind(tag, t.depth)
}

// behind is the first cursor behind all tags whose upper depth bits are those of a tag, 0 behind the last.
func behind(tag uint64, depth uint) uint64 {
	span := uint64(1) << (tagBits - depth)
	return (tag&^(span-1) + span) & (1<<tagBits - 1) << bucketBits
}
