package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"usui/layer/kv/disk"
)

// ErrInjected is what fails when a test asked for it.
var ErrInjected = errors.New("injected failure")

// Disk is a disk in memory. It implements [disk.Folder].
type Disk struct {
	persistent bool // files are persistent memory

	mu    sync.Mutex
	files map[string]*file // guarded by mu
	old   map[string]*file // guarded by mu; names whose change is not durable, with what was there before, nil for nothing

	Lie       func(off int64) bool // a Sync after a write at that offset reports success and does nothing
	FailSync  func(off int64) bool
	FailWrite func(off int64) bool
	Full      func() bool // Create finds no space; called with mu held
	Written   func()      // called after each write

	// Replacing is called before each step of a Replacement: "write", "sync", "name", "settle". An error is that of the step; if it is ErrSkipped,
	// the step reports success and does nothing.
	Replacing func(step string) error

	Writes, Syncs int // guarded by mu; those of replacements are not among them
	Replacements  int // guarded by mu; that are neither committed nor abandoned
}

// ErrSkipped is what [Disk.Replacing] returns to have a step left out.
var ErrSkipped = errors.New("skipped")

// New returns an empty disk.
func New() *Disk { return &Disk{files: map[string]*file{}, old: map[string]*file{}} }

// NewMemory returns empty persistent memory: it stores words, by package disk's own code for that, and a Sync is a fence.
func NewMemory() *Disk {
	d := New()
	d.persistent = true
	return d
}

type file struct {
	d        *Disk
	name     string
	view     []byte // what a reader sees
	durable  []byte // what a crash leaves for certain; nil: what is in view, as long as nothing was written
	pending  []write
	replaced bool // took its place as a whole: it is never written to again
}

type write struct {
	off int64
	p   []byte
}

// Names implements [disk.Folder].
func (d *Disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files)), nil
}

// Create implements [disk.Folder].
func (d *Disk) Create(name string, head []byte, size int64) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Full != nil && d.Full() {
		return nil, errors.New("no space left on device")
	}
	if d.files[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	f := &file{d: d, name: name, view: make([]byte, size)}
	copy(f.view, head)
	d.files[name] = f
	return d.give(f), nil
}

// give is f as the medium has it.
func (d *Disk) give(f *file) disk.File {
	if d.persistent {
		return disk.OnMemory(words{f})
	}
	return f
}

// Immediate implements [disk.Folder].
func (d *Disk) Immediate() bool { return d.persistent }

// Open implements [disk.Folder].
func (d *Disk) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return d.give(f), nil
	}
	return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
}

// Close implements [disk.Folder].
func (d *Disk) Close() error { return nil }

// WriteAt implements [disk.File].
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if f.d.Written != nil {
		defer f.d.Written()
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.Writes++
	if f.d.FailWrite != nil && f.d.FailWrite(off) {
		return 0, ErrInjected
	}
	if off < 0 || off+int64(len(p)) > int64(len(f.view)) {
		return 0, fmt.Errorf("write %d bytes at %d of %s: beyond its end", len(p), off, f.name)
	}
	if f.durable == nil {
		f.durable = slices.Clone(f.view)
	}
	copy(f.view[off:], p)
	f.pending = append(f.pending, write{off, slices.Clone(p)})
	return len(p), nil
}

// Sync implements [disk.File].
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.Syncs++
	if n := len(f.pending); n > 0 {
		off := f.pending[n-1].off
		switch {
		case f.d.FailSync != nil && f.d.FailSync(off):
			return ErrInjected
		case f.d.Lie != nil && f.d.Lie(off):
			return nil
		}
	}
	for _, w := range f.pending {
		copy(f.durable[w.off:], w.p)
	}
	f.pending = nil
	return nil
}

// View implements [disk.File].
func (f *file) View() []byte { return f.view }

// Prepare implements [disk.File].
func (f *file) Prepare(int, int) {}

// Close implements [disk.File].
func (f *file) Close() error { return nil }

// Crash returns what is left of the disk after a crash at this moment. The disk itself can go on, and crash again otherwise.
func (d *Disk) Crash(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	random := rand.New(rand.NewPCG(seed, 1))
	left := New()
	left.persistent = d.persistent
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[name]
		if old, changed := d.old[name]; changed && random.IntN(2) == 0 {
			if f = old; f == nil {
				continue
			}
		}
		kept := f.durable
		if kept == nil {
			kept = f.view
		}
		if f.replaced && len(f.pending) == 0 { // no one writes to it: all crashes leave the same bytes
			left.files[name] = &file{d: left, name: name, view: kept, replaced: true}
			continue
		}
		content := slices.Clone(kept)
		keep := random.Float64() // some crashes keep nearly all, some nearly nothing
		for _, w := range f.pending {
			for start := 0; start < len(w.p); {
				end := min(len(w.p), start+8*(1+random.IntN(1<<random.IntN(10))))
				if random.Float64() < keep {
					copy(content[w.off+int64(start):], w.p[start:end])
				}
				start = end
			}
		}
		left.files[name] = &file{d: left, name: name, view: content}
	}
	return left
}

// Corrupt changes one byte that was durable, as a disk that rots does.
func (d *Disk) Corrupt(name string, off int64) {
	d.change(name, func(p []byte) { p[off] ^= 0x40 })
}

// Wipe has a file be zeros from an offset on, as a disk does that lost what it had said was written.
func (d *Disk) Wipe(name string, off int) {
	d.change(name, func(p []byte) { clear(p[off:]) })
}

func (d *Disk) change(name string, f func([]byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := d.files[name]
	if changed.replaced { // others have the same bytes
		changed.view = slices.Clone(changed.view)
		changed.durable = nil
	}
	f(changed.view)
	if p := changed.durable; p != nil {
		f(p)
	}
}

// Size is that of a file, 0 if there is none.
func (d *Disk) Size(name string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return int64(len(f.view))
	}
	return 0
}

// Content returns a copy of what a reader of that file sees, for tests that look at bytes.
func (d *Disk) Content(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.files[name].view)
}

var _ disk.Folder = (*Disk)(nil)
