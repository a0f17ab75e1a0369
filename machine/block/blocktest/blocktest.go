package blocktest

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"usui/machine/block"
)

// Open makes a backend that holds content, which is a multiple of 4096 bytes. The test closes it.
type Open func(t *testing.T, content []byte, readOnly bool) block.Backend

// unit is what the suite aligns to: every backend has blocks of at most this size.
const unit = 4096

// TestBackend checks everything that [block.Backend] promises and that can be seen from outside.
func TestBackend(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"Geometry", testGeometry},
		{"RandomRequests", testRandomRequests},
		{"FullDepth", testFullDepth},
		{"LargeRequest", testLargeRequest},
		{"Flush", testFlush},
		{"Discard", testDiscard},
		{"Zero", testZero},
		{"Refusals", testRefusals},
		{"ReadOnly", testReadOnly},
		{"EmptyRequests", testEmptyRequests},
		{"SubmitFromCompletion", testSubmitFromCompletion},
		{"ManySubmitters", testManySubmitters},
		{"CloseWaits", testCloseWaits},
		{"CloseWaitsForCompletions", testCloseWaitsForCompletions},
		{"WaitersAndClose", testWaitersAndClose},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open) })
	}
}

// disk is a backend with a record of what is in flight.
type disk struct {
	block.Backend
	t testing.TB

	mu      sync.Mutex
	changed sync.Cond
	results map[uint64]error // guarded by mu; by tag
	pending map[uint64]bool  // guarded by mu
}

func openDisk(t *testing.T, open Open, content []byte, readOnly bool) *disk {
	t.Helper()
	d := &disk{Backend: open(t, bytes.Clone(content), readOnly), t: t, results: map[uint64]error{}, pending: map[uint64]bool{}}
	d.changed.L = &d.mu
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return d
}

// submit starts requests whose tags are not in use.
func (d *disk) submit(reqs ...block.Request) {
	d.t.Helper()
	d.mu.Lock()
	for _, r := range reqs {
		d.pending[r.Tag] = true
	}
	d.mu.Unlock()
	if err := d.Submit(reqs, d.done); err != nil {
		d.t.Errorf("Submit(%d requests) = %v", len(reqs), err)
		d.mu.Lock()
		for _, r := range reqs {
			delete(d.pending, r.Tag)
		}
		d.mu.Unlock()
	}
	clear(reqs) // the caller's again: a backend that still looks finds nothing
}

func (d *disk) done(tag uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.pending[tag] {
		d.t.Errorf("request %d completes twice, or was never made", tag)
	}
	delete(d.pending, tag)
	d.results[tag] = err
	d.changed.Broadcast()
}

// wait waits for one request and returns its result.
func (d *disk) wait(tag uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.pending[tag] {
		d.changed.Wait()
	}
	err, ok := d.results[tag]
	if !ok {
		d.t.Errorf("request %d was never made", tag)
	}
	delete(d.results, tag)
	return err
}

// submitters are the ways to submit to b.
func submitters(b block.Backend) []func([]block.Request, block.Completion) error {
	ways := []func([]block.Request, block.Completion) error{b.Submit}
	if w, ok := b.(block.Waiter); ok {
		ways = append(ways, w.SubmitAndWait)
	}
	return ways
}

// do is submit and wait.
func (d *disk) do(r block.Request) error {
	d.t.Helper()
	r.Tag = 1 << 63
	d.submit(r)
	return d.wait(1 << 63)
}

func (d *disk) mustDo(r block.Request) {
	d.t.Helper()
	if err := d.do(r); err != nil {
		d.t.Fatal(err)
	}
}

// compare reads the whole disk.
func (d *disk) compare(want []byte) {
	d.t.Helper()
	got := make([]byte, len(want))
	d.mustDo(block.Request{Op: block.Read, Buffers: [][]byte{got}})
	for off := 0; off < len(want); off += unit {
		if !bytes.Equal(got[off:off+unit], want[off:off+unit]) {
			d.t.Fatalf("the %d bytes at %d differ from what was written", unit, off)
		}
	}
}

// random is the same bytes each time for one seed.
func random(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// cut splits b into slices of random lengths, as a driver's pages lie scattered.
func cut(rnd *rand.Rand, b []byte) [][]byte {
	var bufs [][]byte
	for len(b) > 0 {
		n := min(1+rnd.IntN(3*unit), len(b))
		if rnd.IntN(2) == 0 {
			n = min(unit, len(b))
		}
		bufs = append(bufs, b[:n:n])
		b = b[n:]
	}
	return bufs
}
