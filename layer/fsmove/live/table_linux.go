package live

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The memory begins with its head, which takes the place of some slots: a word that says what it is, a word of state, a word of work, a word of users, the number of bytes of a text, and the text.
const (
	magic      = 0x31_65_76_69_6c_75_73_75 // "usulive1", from its end
	stateAt    = 8
	workAt     = 16
	usersAt    = 24
	textAt     = 32
	headBytes  = 4096
	chunkBytes = 1 << 20 // is mapped at a time
)

// A slot is its key, its counter, its kind, the number of bytes of data, and data.
const (
	slotBytes = 64
	countAt   = 8
	kindAt    = 16
	sizeAt    = 17
	dataAt    = 18
	MaxData   = slotBytes - dataAt // bytes of data
)

// MaxText is how long the text may be.
const MaxText = headBytes - textAt - 8

// maxChunks bounds the memory to 16 GiB.
const maxChunks = 16 << 10

// Table is the memory.
type Table struct {
	fd int

	mu     sync.Mutex
	chunks [][]byte // guarded by mu; they are only added
	free   []Slot   // guarded by mu
}

// Slot is the place of a record.
type Slot uint32

// Record is what a slot has.
type Record struct {
	Kind  byte
	Key   uint64 // not 0
	Count uint64
	Data  []byte // up to MaxData
}

// ErrForeign says that a file is no table.
var ErrForeign = errors.New("this is no table of live records")

// New makes an empty table.
func New() (*Table, error) {
	fd, err := unix.MemfdCreate("usui-live", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	t := &Table{fd: fd}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.grow(); err != nil {
		return nil, errors.Join(err, t.release())
	}
	word(t.chunks[0], 0).Store(magic)
	return t, nil
}

// Open goes on with the table that a descriptor is of, which is the table's from then on, if there is no error.
func Open(fd int) (*Table, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size == 0 || st.Size%chunkBytes != 0 || st.Size > maxChunks*chunkBytes {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrForeign, st.Size)
	}
	t := &Table{fd: fd}
	t.mu.Lock()
	defer t.mu.Unlock()
	for range st.Size / chunkBytes {
		if err := t.chunk(); err != nil {
			return nil, errors.Join(err, t.unmap())
		}
	}
	if word(t.chunks[0], 0).Load() != magic {
		return nil, errors.Join(ErrForeign, t.unmap())
	}
	return t, nil
}

// grow adds a chunk. t.mu is held.
func (t *Table) grow() error {
	if len(t.chunks) == maxChunks {
		return fmt.Errorf("more than %d live records", maxChunks*chunkBytes/slotBytes)
	}
	if err := unix.Ftruncate(t.fd, int64(len(t.chunks)+1)*chunkBytes); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	return t.chunk()
}

// chunk maps the next chunk. t.mu is held.
func (t *Table) chunk() error {
	p, err := unix.Mmap(t.fd, int64(len(t.chunks))*chunkBytes, chunkBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	first := Slot(len(t.chunks) * (chunkBytes / slotBytes))
	t.chunks = append(t.chunks, p)
	for i := chunkBytes/slotBytes - 1; i >= 0; i-- {
		if s := first + Slot(i); s >= headBytes/slotBytes && word(p, i*slotBytes).Load() == 0 {
			t.free = append(t.free, s)
		}
	}
	return nil
}

// Close ends the use of it. Nobody uses a slot's counter any more.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.release()
}

func (t *Table) release() error {
	return errors.Join(t.unmap(), os.NewSyscallError("close", unix.Close(t.fd)))
}

func (t *Table) unmap() (err error) {
	for _, p := range t.chunks {
		err = errors.Join(err, os.NewSyscallError("munmap", unix.Munmap(p)))
	}
	t.chunks = nil
	return err
}

// Fd is the descriptor of the memory. It stays the table's.
func (t *Table) Fd() int { return t.fd }

// State is a number that its user sets; at first it is 0.
func (t *Table) State() *atomic.Uint64 { return word(t.head(), stateAt) }

// Work is a number that its user counts; at first it is 0.
func (t *Table) Work() *atomic.Uint64 { return word(t.head(), workAt) }

// Users is a number that its user counts; at first it is 0.
func (t *Table) Users() *atomic.Uint64 { return word(t.head(), usersAt) }

func (t *Table) head() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.chunks[0][:headBytes]
}

// SetText keeps a text, once.
func (t *Table) SetText(p []byte) error {
	if len(p) > MaxText {
		return fmt.Errorf("a text of %d bytes, and there is room for %d", len(p), MaxText)
	}
	head := t.head()
	copy(head[textAt+8:], p)
	word(head, textAt).Store(uint64(len(p)))
	return nil
}

// Text is what SetText kept, nil before.
func (t *Table) Text() []byte {
	head := t.head()
	n := word(head, textAt).Load()
	if n == 0 || n > MaxText {
		return nil
	}
	return append([]byte(nil), head[textAt+8:][:n]...)
}

// at is the memory of a slot. t.mu is held.
func (t *Table) at(s Slot) []byte {
	const each = chunkBytes / slotBytes
	return t.chunks[s/each][int(s%each)*slotBytes:][:slotBytes]
}

// Put makes a record.
func (t *Table) Put(r Record) (Slot, error) {
	if r.Key == 0 || len(r.Data) > MaxData {
		return 0, fmt.Errorf("a live record with key %d and %d bytes: it takes a key, and at most %d bytes", r.Key, len(r.Data), MaxData)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		if err := t.grow(); err != nil {
			return 0, err
		}
	}
	s := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	p := t.at(s)
	p[kindAt], p[sizeAt] = r.Kind, byte(len(r.Data))
	copy(p[dataAt:], r.Data)
	word(p, countAt).Store(r.Count)
	word(p, 0).Store(r.Key)
	return s, nil
}

// Count is the counter of a record. It is its user's until the record is dropped.
func (t *Table) Count(s Slot) *atomic.Uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return word(t.at(s), countAt)
}

// Drop ends a record.
func (t *Table) Drop(s Slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	word(t.at(s), 0).Store(0)
	t.free = append(t.free, s)
}

// All are the records that there are. Nobody changes the table meanwhile.
func (t *Table) All() iter.Seq2[Slot, Record] {
	return func(yield func(Slot, Record) bool) {
		t.mu.Lock()
		n := Slot(len(t.chunks) * (chunkBytes / slotBytes))
		t.mu.Unlock()
		for s := Slot(headBytes / slotBytes); s < n; s++ {
			if r, ok := t.record(s); ok && !yield(s, r) {
				return
			}
		}
	}
}

func (t *Table) record(s Slot) (Record, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.at(s)
	r := Record{Kind: p[kindAt], Key: word(p, 0).Load(), Count: word(p, countAt).Load()}
	if r.Key == 0 || p[sizeAt] > MaxData {
		return r, false
	}
	r.Data = append([]byte(nil), p[dataAt:][:p[sizeAt]]...)
	return r, true
}
