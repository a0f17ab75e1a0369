package disktest

import (
	"fmt"

	"usui/layer/kv/disk"
)

// words implements [disk.Memory] by a file in memory.
type words struct{ *file }

// Stream implements [disk.Memory].
func (w words) Stream(p []byte, off int) {
	if off%disk.WordBytes != 0 || len(p)%disk.WordBytes != 0 {
		panic(fmt.Sprintf("BUG: %d bytes at %d are no words", len(p), off))
	}
	if _, err := w.WriteAt(p, int64(off)); err != nil {
		panic(fault{err})
	}
}

// Fence implements [disk.Memory].
func (w words) Fence() {
	if err := w.Sync(); err != nil {
		panic("BUG: a fence does not fail: " + err.Error())
	}
}

// fault is what a store to a page becomes that the device cannot write, as the runtime makes it of SIGBUS.
type fault struct{ error }

// RuntimeError implements [runtime.Error].
func (fault) RuntimeError() {}

// Addr is where it happened.
func (fault) Addr() uintptr { return 0 }
