package disktest

import (
	"slices"
	"sync"

	"usui/layer/kv/disk"
)

// Holding returns a folder whose writes stay in this process until their file is synced.
func Holding(below disk.Folder) disk.Folder { return holding{below} }

type holding struct{ disk.Folder }

// Create implements [disk.Folder].
func (h holding) Create(name string, head []byte, size int64) (disk.File, error) {
	return hold(h.Folder.Create(name, head, size))
}

// Open implements [disk.Folder].
func (h holding) Open(name string) (disk.File, error) { return hold(h.Folder.Open(name)) }

func hold(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return &held{File: f, view: slices.Clone(f.View())}, nil
}

type held struct {
	disk.File
	view []byte // what this process sees

	mu      sync.Mutex
	pending []write // guarded by mu
}

// WriteAt implements [disk.File].
func (h *held) WriteAt(p []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = append(h.pending, write{off, slices.Clone(p)})
	return copy(h.view[off:], p), nil
}

// Sync implements [disk.File].
func (h *held) Sync() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.pending {
		if _, err := h.File.WriteAt(w.p, w.off); err != nil {
			return err
		}
	}
	h.pending = nil
	return h.File.Sync()
}

// View implements [disk.File].
func (h *held) View() []byte { return h.view }
