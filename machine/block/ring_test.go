package block

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"usui/host/need"
)

// newEngine opens a disk on a file with io_uring.
func newEngine(t *testing.T) (*File, *ringEngine) {
	t.Helper()
	need.URing(t)
	path := filepath.Join(t.TempDir(), "d.img")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, Options{Engine: EngineURing})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, f.engine.(*ringEngine)
}

// Whoever is on his way into the kernel may find that a submitter took what he wanted to wait for.
func TestCloseWakesWhoSleepsWithNothingInFlight(t *testing.T) {
	f, e := newEngine(t)
	e.submitters.Go(func() {
		e.mu.Lock()
		e.sleep()
		e.finish(true)
	})
	for waiting := false; !waiting; runtime.Gosched() {
		e.mu.Lock()
		waiting = e.waiting
		e.mu.Unlock()
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// A submitter that finishes after close leaves the completion alone that wakes a sleeper.
func TestSubmitterLeavesTheWakeUpAlone(t *testing.T) {
	_, e := newEngine(t)
	e.mu.Lock()
	e.waiting, e.closed = true, true // as close finds a sleeper that is not in the kernel yet
	e.ring.Wake()
	e.finish(false)
	e.mu.Lock()
	if !e.ring.Ready() {
		t.Error("the wake-up is gone")
	}
	e.waiting, e.closed = false, false
	e.finish(true)
}
