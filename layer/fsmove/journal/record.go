package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Folder is a directory whose entries are not at the destination yet.
type Folder struct {
	Path string // at the source, below its root
	Top  string // where the file system begins that it is on, also below the source's root: its device's number is another after each mount
	Ino  uint64 // what it was at the source when it was found, 0 if that was not told
}

// File is a regular file whose content is not complete at the destination yet.
type File struct {
	Path  string // at the source, below its root
	Limit int64  // what lies behind it at the source was cut off at the destination, and is never fetched
	// Cut says that the destination's file may still be longer than Limit: it is to be truncated before anything else.
	Cut bool
	// Written says that a client has written to it: its times are the destination's own.
	Written bool
	// Doubted says that the disk has failed to write some of it: all that is the source's is to be written once more.
	Doubted      bool
	Ino          uint64 // what it was at the source when it was listed
	Size         int64
	Blocks       int64 // of 512 bytes
	Mtime, Ctime time.Time
	Capability   string // the file capabilities that it has, which a write takes away; mostly none
}

// Link is an inode of the source with several names.
type Link struct {
	Left         uint32 // how many of its names have not been met
	Size         int64  // what it was when its first name was listed
	Mtime, Ctime time.Time
}

// early is an entry that a folder has before it is listed: its key says it all.
type early struct{}

// Header is the migration.
type Header struct {
	Source string // as the user named it
	Root   Root
}

// Root is what the source's root is known by when it is opened anew.
type Root struct {
	FS           uint64 // the number of its file system, 0 if it tells none
	Ino          uint64
	Mtime, Ctime time.Time
}

// Loss is something of the source that the destination will not have.
type Loss struct {
	Path string // at the source, below its root
	What string // is missing, and why
}

// ErrDamaged says that a record is not what was written.
var ErrDamaged = errors.New("the journal is damaged")

// version is the first byte of each record.
const version = 3

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is its version, its fields, and the CRC32C of its key and of both.
type writer struct{ p []byte }

func newWriter() *writer { return &writer{[]byte{version}} }

func (w *writer) number(n uint64) { w.p = binary.AppendUvarint(w.p, n) }
func (w *writer) signed(n int64)  { w.p = binary.AppendVarint(w.p, n) }
func (w *writer) text(s string)   { w.number(uint64(len(s))); w.p = append(w.p, s...) }
func (w *writer) time(t time.Time) {
	w.signed(t.Unix())
	w.number(uint64(t.Nanosecond()))
}

func (w *writer) flag(b bool) {
	if b {
		w.number(1)
	} else {
		w.number(0)
	}
}

func (w *writer) seal(key []byte) []byte {
	return binary.LittleEndian.AppendUint32(w.p, sum(key, w.p))
}

func sum(key, p []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, p)
}

// reader reads fields. After the first one that is not there, all are zero.
type reader struct {
	p   []byte
	bad bool
}

// newReader checks a record.
func newReader(key, p []byte) (*reader, error) {
	if len(p) < 5 || binary.LittleEndian.Uint32(p[len(p)-4:]) != sum(key, p[:len(p)-4]) {
		return nil, fmt.Errorf("%w: record %x does not check", ErrDamaged, key)
	}
	if p[0] != version {
		return nil, fmt.Errorf("record %x is of version %d, and this program knows %d: use the one that began the migration", key, p[0], version)
	}
	return &reader{p: p[1 : len(p)-4]}, nil
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.p)
	return take(r, n, size)
}

func (r *reader) signed() int64 {
	n, size := binary.Varint(r.p)
	return take(r, n, size)
}

func take[T any](r *reader, n T, size int) (zero T) {
	if size <= 0 {
		r.p, r.bad = nil, true
		return zero
	}
	r.p = r.p[size:]
	return n
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.p)) {
		r.p, r.bad = nil, true
		return ""
	}
	s := string(r.p[:n])
	r.p = r.p[n:]
	return s
}

func (r *reader) flag() bool { return r.number() != 0 }

func (r *reader) time() time.Time {
	sec := r.signed()
	return time.Unix(sec, int64(r.number()))
}

// end says whether all fields were there, and nothing else.
func (r *reader) end(key []byte) error {
	if r.bad || len(r.p) > 0 {
		return fmt.Errorf("%w: record %x has other fields", ErrDamaged, key)
	}
	return nil
}

func (f *Folder) write(w *writer) { w.text(f.Path); w.text(f.Top); w.number(f.Ino) }
func (f *Folder) read(r *reader)  { f.Path, f.Top, f.Ino = r.text(), r.text(), r.number() }

func (f *File) write(w *writer) {
	w.text(f.Path)
	w.signed(f.Limit)
	w.flag(f.Cut)
	w.flag(f.Written)
	w.flag(f.Doubted)
	w.number(f.Ino)
	w.signed(f.Size)
	w.signed(f.Blocks)
	w.time(f.Mtime)
	w.time(f.Ctime)
	w.text(f.Capability)
}

func (f *File) read(r *reader) {
	f.Path, f.Limit, f.Cut, f.Written, f.Doubted = r.text(), r.signed(), r.flag(), r.flag(), r.flag()
	f.Ino, f.Size, f.Blocks, f.Mtime, f.Ctime, f.Capability = r.number(), r.signed(), r.signed(), r.time(), r.time(), r.text()
}

func (*early) write(*writer) {}
func (*early) read(*reader)  {}

func (l *Link) write(w *writer) {
	w.number(uint64(l.Left))
	w.signed(l.Size)
	w.time(l.Mtime)
	w.time(l.Ctime)
}

func (l *Link) read(r *reader) {
	l.Left, l.Size, l.Mtime, l.Ctime = uint32(r.number()), r.signed(), r.time(), r.time()
}

func (h *Header) write(w *writer) {
	w.text(h.Source)
	w.number(h.Root.FS)
	w.number(h.Root.Ino)
	w.time(h.Root.Mtime)
	w.time(h.Root.Ctime)
}

func (h *Header) read(r *reader) {
	h.Source = r.text()
	h.Root = Root{r.number(), r.number(), r.time(), r.time()}
}

func (l *Loss) write(w *writer) { w.text(l.Path); w.text(l.What) }
func (l *Loss) read(r *reader)  { l.Path, l.What = r.text(), r.text() }
