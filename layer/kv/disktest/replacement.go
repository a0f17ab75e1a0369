package disktest

import (
	"errors"
	"slices"

	"usui/layer/kv/disk"
)

// replacement implements [disk.Replacement].
type replacement struct {
	d    *Disk
	name string
	f    *file
}

// Replace implements [disk.Folder].
func (d *Disk) Replace(name string) (disk.Replacement, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Full != nil && d.Full() {
		return nil, errors.New("no space left on device")
	}
	d.Replacements++
	return &replacement{d, name, &file{d: d, name: name}}, nil
}

// step does one step of a replacement, unless the test says otherwise.
func (r *replacement) step(name string, f func()) error {
	if r.d.Replacing != nil {
		if err := r.d.Replacing(name); errors.Is(err, ErrSkipped) {
			return nil
		} else if err != nil {
			return err
		}
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	f()
	return nil
}

// WriteAt implements [disk.Replacement]. What is durable grows with the file, by zeros.
func (r *replacement) WriteAt(p []byte, off int64) (int, error) {
	err := r.step("write", func() {
		if grow := int(off) + len(p) - len(r.f.view); grow > 0 {
			r.f.view = append(r.f.view, make([]byte, grow)...)
			r.f.durable = append(r.f.durable, make([]byte, grow)...)
		}
		copy(r.f.view[off:], p)
		r.f.pending = append(r.f.pending, write{off, slices.Clone(p)})
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync implements [disk.Replacement].
func (r *replacement) Sync() error {
	return r.step("sync", func() {
		for _, w := range r.f.pending {
			copy(r.f.durable[w.off:], w.p)
		}
		r.f.pending = nil
	})
}

// Commit implements [disk.Replacement].
func (r *replacement) Commit() error {
	if err := r.Sync(); err != nil {
		return err
	}
	if err := r.step("name", func() {
		if _, changed := r.d.old[r.name]; !changed {
			r.d.old[r.name] = r.d.files[r.name]
		}
		r.d.files[r.name] = r.f
		r.f.replaced = true
		r.d.Replacements--
	}); err != nil {
		return err
	}
	return r.step("settle", func() { delete(r.d.old, r.name) })
}

// Abandon implements [disk.Replacement].
func (r *replacement) Abandon() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.Replacements--
	return nil
}
