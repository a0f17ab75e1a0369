package blocktest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"usui/machine/block"
)

func testSubmitFromCompletion(t *testing.T, open Open) {
	model := random(64*unit, 10)
	d := openDisk(t, open, model, false)
	got := make([]byte, len(model))
	end := make(chan error, 1)
	var done block.Completion
	done = func(tag uint64, err error) {
		if err != nil || tag == 64 {
			end <- err
			return
		}
		b := [][]byte{got[tag*unit : (tag+1)*unit]}
		if err := d.Submit([]block.Request{{Op: block.Read, Offset: int64(tag * unit), Buffers: b, Tag: tag + 1}}, done); err != nil {
			end <- err
		}
	}
	done(0, nil)
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, model) {
		t.Error("a chain of reads found other bytes than were written")
	}
}

// Each submitter has a part of the disk for itself.
func testManySubmitters(t *testing.T, open Open) {
	const count = 4
	model := random(count*32*unit, 11)
	d := openDisk(t, open, model, false)
	ways := submitters(d.Backend)
	if d.Geometry().Depth < count {
		t.Skipf("the depth is %d", d.Geometry().Depth)
	}
	var all sync.WaitGroup
	for s := range count {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(s), 1))
			part := model[s*32*unit : (s+1)*32*unit]
			for range 200 {
				at := rnd.IntN(32) * unit
				op := []block.Op{block.Read, block.Write}[rnd.IntN(2)]
				buf := bytes.Clone(part[at : at+unit])
				if op == block.Write {
					buf[rnd.IntN(unit)]++
				}
				result := make(chan error, 1)
				r := block.Request{Op: op, Offset: int64(s*32*unit + at), Buffers: [][]byte{buf}}
				if err := ways[rnd.IntN(len(ways))]([]block.Request{r}, func(_ uint64, err error) { result <- err }); err != nil {
					t.Error(err)
					return
				}
				if err := <-result; err != nil {
					t.Error(err)
					return
				}
				if op == block.Read && !bytes.Equal(buf, part[at:at+unit]) {
					t.Error("a read found other bytes than were written")
				}
				copy(part[at:], buf)
			}
		})
	}
	all.Wait()
	d.compare(model)
}

func testCloseWaits(t *testing.T, open Open) {
	const n = 32
	for range 20 {
		d := openDisk(t, open, random(n*unit, 12), false)
		count := min(n, d.Geometry().Depth)
		for i := range count {
			op := []block.Op{block.Read, block.Write, block.Flush}[i%3]
			d.submit(block.Request{Op: op, Offset: int64(i * unit), Buffers: [][]byte{make([]byte, unit)}, Tag: uint64(i)})
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		if len(d.pending) != 0 || len(d.results) != count {
			t.Errorf("Close returned with %d requests in flight and %d complete, want 0 and %d", len(d.pending), len(d.results), count)
		}
		d.mu.Unlock()
		if err := d.Submit([]block.Request{{Op: block.Flush}}, func(uint64, error) { t.Error("a request to a closed disk completes") }); !errors.Is(err, block.ErrClosed) {
			t.Errorf("Submit after Close = %v, want %v", err, block.ErrClosed)
		}
	}
}

// A completion that is running keeps Close from returning.
func testCloseWaitsForCompletions(t *testing.T, open Open) {
	b := open(t, make([]byte, unit), false)
	ways := len(submitters(b))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, op := range []block.Op{block.Read, block.Write, block.Flush} {
		for way := range ways {
			closeDuringCompletion(t, openDisk(t, open, make([]byte, unit), false), op, way)
		}
	}
}

func closeDuringCompletion(t *testing.T, d *disk, op block.Op, way int) {
	t.Helper()
	entered, gate := make(chan struct{}), make(chan struct{})
	done := func(_ uint64, err error) {
		if err != nil {
			t.Errorf("%v: %v", op, err)
		}
		close(entered)
		<-gate
	}
	go submitters(d.Backend)[way]([]block.Request{{Op: op, Buffers: [][]byte{make([]byte, unit)}}}, done)
	<-entered
	closed := make(chan struct{})
	go func() {
		d.Close()
		close(closed)
	}()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Errorf("Close returned while the completion of a %v was running", op)
	default:
	}
	close(gate)
	<-closed
}

// Waiting submitters, others and Close at a time: everything completes, and nobody sleeps on.
func testWaitersAndClose(t *testing.T, open Open) {
	const count = 6
	for range 20 {
		d := openDisk(t, open, random(count*unit, 13), false)
		ways := submitters(d.Backend)
		var all sync.WaitGroup
		var taken, complete atomic.Int64
		for i := range count {
			all.Go(func() {
				for round := range 30 {
					op := []block.Op{block.Read, block.Write, block.Write, block.Flush}[(i+round)%4]
					r := block.Request{Op: op, Offset: int64(i * unit), Buffers: [][]byte{make([]byte, unit)}}
					result := make(chan error, 1)
					if ways[round%len(ways)]([]block.Request{r}, func(_ uint64, err error) { result <- err }) != nil {
						return // closed
					}
					taken.Add(1)
					if err := <-result; err == nil || errors.Is(err, block.ErrClosed) || errors.Is(err, block.ErrDepth) {
						complete.Add(1)
					}
				}
			})
		}
		for complete.Load() < count {
			runtime.Gosched()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
		if taken.Load() != complete.Load() {
			t.Errorf("%d requests taken, %d complete", taken.Load(), complete.Load())
		}
	}
}
