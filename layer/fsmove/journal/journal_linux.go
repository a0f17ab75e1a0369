package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"usui/layer/fsmove/tree"
)

// Kinds of keys: the first byte.
const (
	headerKey   = 'h'
	folderKey   = 'd'
	fileKey     = 'f'
	linkKey     = 'l'
	lossKey     = 's'
	settingsKey = 'c'
	earlyKey    = 'e'
)

// Journal is open records.
type Journal struct {
	db   *pebble.DB
	room *room
}

// Open opens the records in a folder, or makes the folder. It is locked until Close: the error for a second process says so.
// Beside it, room on the disk is kept back for it.
func Open(folder string, logger *slog.Logger) (*Journal, error) {
	return openIn(vfs.Default, folder, keptPieces, keptBytes, logger)
}

func openIn(fs vfs.FS, folder string, pieces int, bytes int64, logger *slog.Logger) (*Journal, error) {
	room, err := openRoom(fs, folder+".room", pieces, bytes, logger)
	if err != nil {
		return nil, err
	}
	db, err := pebble.Open(folder, &pebble.Options{
		FS:                 room,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{logger},
		MemTableSize:       16 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return &Journal{db, room}, nil
}

// quiet is what Pebble tells: its news are for those who debug it.
type quiet struct{ *slog.Logger }

func (q quiet) Infof(format string, a ...any)  { q.Debug(fmt.Sprintf(format, a...)) }
func (q quiet) Errorf(format string, a ...any) { q.Error(fmt.Sprintf(format, a...)) }
func (q quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf("journal: "+format, a...)) }

// Close closes it.
func (j *Journal) Close() error { return j.db.Close() }

// Short says that the file system of the journal has no room, or had none a moment ago: what can wait should, for changes live on what was kept back.
func (j *Journal) Short() bool { return j.room.short() }

// Header is the migration that the journal is of, false if there is none yet.
func (j *Journal) Header() (h Header, ok bool, err error) {
	ok, err = j.get([]byte{headerKey}, &h)
	return h, ok, err
}

// Folder is the record of a folder, false if it has none.
func (j *Journal) Folder(h tree.Handle) (f Folder, ok bool, err error) {
	ok, err = j.get(byHandle(folderKey, h), &f)
	return f, ok, err
}

// File is the record of a file, false if it has none.
func (j *Journal) File(h tree.Handle) (f File, ok bool, err error) {
	ok, err = j.get(byHandle(fileKey, h), &f)
	return f, ok, err
}

// Link is the record of an inode of the source, false if it has none.
func (j *Journal) Link(i Inode) (l Link, ok bool, err error) {
	ok, err = j.get(byNumber(i), &l)
	return l, ok, err
}

// Folders are the folders that have a record, as they are at the call.
func (j *Journal) Folders() iter.Seq2[tree.Handle, error] { return j.handles(folderKey) }

// Files are the files that have a record, as Folders.
func (j *Journal) Files() iter.Seq2[tree.Handle, error] { return j.handles(fileKey) }

func (j *Journal) handles(kind byte) iter.Seq2[tree.Handle, error] {
	return func(yield func(tree.Handle, error) bool) {
		for i, err := range j.all(kind) {
			if err != nil {
				yield("", err)
				return
			}
			if !yield(tree.Handle(i.Key()[1:]), nil) {
				return
			}
		}
	}
}

// FileRecord is a file with its record.
type FileRecord struct {
	Handle tree.Handle
	File
}

// FileRecords are the files that have a record, as Folders.
func (j *Journal) FileRecords() iter.Seq2[FileRecord, error] {
	return func(yield func(FileRecord, error) bool) {
		for i, err := range j.all(fileKey) {
			var r FileRecord
			if err == nil {
				r.Handle = tree.Handle(i.Key()[1:])
				err = read(i.Key(), i.Value(), &r.File)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Links are the inodes of the source that have a record, as Folders.
func (j *Journal) Links() iter.Seq2[Inode, error] {
	return func(yield func(Inode, error) bool) {
		for i, err := range j.all(linkKey) {
			var of Inode
			if err == nil && len(i.Key()) < 9 {
				err = fmt.Errorf("%w: a key of %d bytes", ErrDamaged, len(i.Key()))
			} else if err == nil {
				of = Inode{string(i.Key()[9:]), binary.BigEndian.Uint64(i.Key()[1:])}
			}
			if !yield(of, err) || err != nil {
				return
			}
		}
	}
}

// Losses are what will be missing, by path, as Folders.
func (j *Journal) Losses() iter.Seq2[Loss, error] {
	return func(yield func(Loss, error) bool) {
		for i, err := range j.all(lossKey) {
			var l Loss
			if err == nil {
				err = read(i.Key(), i.Value(), &l)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// all are the records of a kind, as between has them.
func (j *Journal) all(kind byte) iter.Seq2[*pebble.Iterator, error] {
	return j.between([]byte{kind}, []byte{kind + 1})
}

// between are the records with keys from one on and before another. The iterator is at each in turn.
func (j *Journal) between(from, to []byte) iter.Seq2[*pebble.Iterator, error] {
	return func(yield func(*pebble.Iterator, error) bool) {
		i, err := j.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			yield(nil, err)
			return
		}
		defer i.Close() // its error is that of Error
		for ok := i.First(); ok; ok = i.Next() {
			if !yield(i, nil) {
				return
			}
		}
		if err := i.Error(); err != nil {
			yield(nil, err)
		}
	}
}

// record is what a key has.
type record interface {
	read(*reader)
	write(*writer)
}

func (j *Journal) get(key []byte, to record) (bool, error) {
	p, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer closer.Close() // always nil
	return true, read(key, p, to)
}

// read reads a record.
func read(key, p []byte, to record) error {
	r, err := newReader(key, p)
	if err != nil {
		return err
	}
	to.read(r)
	return r.end(key)
}

// byHandle is the key of an inode of the destination.
func byHandle(kind byte, h tree.Handle) []byte { return append([]byte{kind}, h...) }

// Inode is one of the source.
type Inode struct {
	Top string // where the file system begins that it is on, below the source's root
	Ino uint64
}

// byNumber is the key of an inode of the source.
func byNumber(i Inode) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{linkKey}, i.Ino), i.Top...)
}

// Early are the names of entries that a folder has before it is listed.
func (j *Journal) Early(folder tree.Handle) (names map[string]bool, err error) {
	names = map[string]bool{}
	prefix := byName(folder, "")
	for i, err := range j.between(prefix, after(prefix)) {
		if err == nil {
			err = read(i.Key(), i.Value(), &early{})
		}
		if err != nil {
			return nil, err
		}
		names[string(i.Key()[len(prefix):])] = true
	}
	return names, nil
}

// IsEarly says whether a folder has an entry before it is listed.
func (j *Journal) IsEarly(folder tree.Handle, name string) (bool, error) {
	return j.get(byName(folder, name), &early{})
}

// byName is the key of an entry of a folder. A handle's length comes before it, so that none is the beginning of another.
func byName(folder tree.Handle, name string) []byte {
	return append(append(binary.BigEndian.AppendUint16([]byte{earlyKey}, uint16(len(folder))), folder...), name...)
}

// after is the first key behind all that begin with a prefix, which has a byte that is not 0xff.
func after(prefix []byte) []byte {
	p := bytes.TrimRight(bytes.Clone(prefix), "\xff")
	p[len(p)-1]++
	return p
}

// byText is the key of a loss: the same one is there once, however often it is met.
func byText(l Loss) []byte { return append(append([]byte{lossKey}, l.Path...), "\x00"+l.What...) }

// Change is what is changed at once.
type Change struct{ batch *pebble.Batch }

// Change begins a change. It ends with Apply, or with Drop.
func (j *Journal) Change() *Change { return &Change{j.db.NewBatch()} }

// SetHeader tells of the migration.
func (c *Change) SetHeader(h Header) { c.set([]byte{headerKey}, &h) }

// SetFolder gives a folder a record.
func (c *Change) SetFolder(h tree.Handle, f Folder) { c.set(byHandle(folderKey, h), &f) }

// SetFile gives a file a record.
func (c *Change) SetFile(h tree.Handle, f File) { c.set(byHandle(fileKey, h), &f) }

// SetLink gives an inode of the source a record.
func (c *Change) SetLink(i Inode, l Link) { c.set(byNumber(i), &l) }

// SetEarly says that a folder has an entry before it is listed.
func (c *Change) SetEarly(folder tree.Handle, name string) { c.set(byName(folder, name), &early{}) }

// DropEarly says that such a folder is listed.
func (c *Change) DropEarly(folder tree.Handle, name string) { c.drop(byName(folder, name)) }

// AddLoss says that something will be missing.
func (c *Change) AddLoss(l Loss) { c.set(byText(l), &l) }

// DropFolder says that a folder is finished, or gone.
func (c *Change) DropFolder(h tree.Handle) { c.drop(byHandle(folderKey, h)) }

// DropFile says that a file is finished, or gone.
func (c *Change) DropFile(h tree.Handle) { c.drop(byHandle(fileKey, h)) }

// DropLink says that all names of an inode of the source have been met.
func (c *Change) DropLink(i Inode) { c.drop(byNumber(i)) }

func (c *Change) set(key []byte, r record) {
	w := newWriter()
	r.write(w)
	_ = c.batch.Set(key, w.seal(key), nil) // fails only once it is applied
}

func (c *Change) drop(key []byte) { _ = c.batch.Delete(key, nil) } // likewise

// Drop leaves everything as it was.
func (c *Change) Drop() { _ = c.batch.Close() }

// Apply makes the change, durably. It can be called once.
//
// Without a sync Pebble would hold it in memory until its next write: the end of the process would undo what others have built on.
func (c *Change) Apply() error { return errors.Join(c.batch.Commit(pebble.Sync), c.batch.Close()) }
