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

func testGeometry(t *testing.T, open Open) {
	d := openDisk(t, open, make([]byte, 16*unit), false)
	g := d.Geometry()
	if g.Size < 16*unit || g.BlockSize < 512 || g.BlockSize > unit || g.BlockSize&(g.BlockSize-1) != 0 ||
		g.Size%int64(g.BlockSize) != 0 || g.Depth < 1 || g.ReadOnly {
		t.Errorf("Geometry() = %+v makes no sense for a disk of %d bytes", g, 16*unit)
	}
	if d.Geometry() != g {
		t.Errorf("Geometry() changes")
	}
}

// plan is a random set of requests on different blocks of the disk.
type plan struct {
	reqs []block.Request
	want map[uint64][]byte // what a read with this tag must find
}

// makePlan chooses up to n requests that do not overlap, and applies them to the model.
func makePlan(rnd *rand.Rand, model []byte, n int, ops []block.Op) plan {
	p := plan{want: map[uint64][]byte{}}
	blocks := len(model) / unit
	at := rnd.IntN(blocks / 2)
	for tag := uint64(0); tag < uint64(n) && at < blocks; tag++ {
		count := 1 + rnd.IntN(min(8, blocks-at))
		part := model[at*unit : (at+count)*unit]
		r := block.Request{Op: ops[rnd.IntN(len(ops))], Offset: int64(at * unit), Tag: tag}
		switch r.Op {
		case block.Read:
			p.want[tag] = bytes.Clone(part)
			r.Buffers = cut(rnd, make([]byte, len(part)))
		case block.Write:
			rand.NewChaCha8([32]byte{byte(rnd.Uint32())}).Read(part)
			r.Buffers = cut(rnd, bytes.Clone(part))
		case block.Zero:
			clear(part)
			r.Length = int64(len(part))
		}
		p.reqs = append(p.reqs, r)
		at += count + rnd.IntN(3)
	}
	rnd.Shuffle(len(p.reqs), func(i, j int) { p.reqs[i], p.reqs[j] = p.reqs[j], p.reqs[i] })
	return p
}

// run submits a plan in random pieces and checks what the reads found.
func (d *disk) run(rnd *rand.Rand, p plan) {
	d.t.Helper()
	bufs := map[uint64][][]byte{}
	for _, r := range p.reqs {
		bufs[r.Tag] = r.Buffers
	}
	n := len(p.reqs)
	for rest := p.reqs; len(rest) > 0; {
		k := 1 + rnd.IntN(len(rest))
		d.submit(rest[:k]...)
		rest = rest[k:]
	}
	for tag := range uint64(n) {
		if err := d.wait(tag); err != nil {
			d.t.Fatal(err)
		}
		if want, ok := p.want[tag]; ok && !bytes.Equal(bytes.Join(bufs[tag], nil), want) {
			d.t.Fatalf("a read found other bytes than were written")
		}
	}
}

func testRandomRequests(t *testing.T, open Open) {
	model := random(256*unit, 1)
	d := openDisk(t, open, model, false)
	ops := []block.Op{block.Read, block.Read, block.Write, block.Write, block.Flush}
	if d.Geometry().Zero {
		ops = append(ops, block.Zero)
	}
	rnd := rand.New(rand.NewPCG(7, 11))
	for range 50 {
		d.run(rnd, makePlan(rnd, model, min(40, d.Geometry().Depth), ops))
	}
	d.compare(model)
}

// As many requests as the geometry allows, all at once and again when they are complete.
func testFullDepth(t *testing.T, open Open) {
	depth := d0(t, open).Depth
	model := random((depth+1)*unit, 2)
	d := openDisk(t, open, model, false)
	for round := range 3 {
		var reqs []block.Request
		bufs := make([][]byte, depth)
		for i := range depth {
			bufs[i] = make([]byte, unit)
			reqs = append(reqs, block.Request{Op: block.Read, Offset: int64(i * unit), Buffers: bufs[i : i+1], Tag: uint64(i)})
		}
		d.submit(reqs...)
		for i := range depth {
			if err := d.wait(uint64(i)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if !bytes.Equal(bufs[i], model[i*unit:(i+1)*unit]) {
				t.Fatalf("round %d: block %d is not what was written", round, i)
			}
		}
	}
}

// d0 is the geometry of a small disk.
func d0(t *testing.T, open Open) block.Geometry {
	t.Helper()
	b := open(t, make([]byte, unit), false)
	g := b.Geometry()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return g
}

// A request of more pieces than one system call takes.
func testLargeRequest(t *testing.T, open Open) {
	model := random(1024*unit, 3)
	d := openDisk(t, open, make([]byte, len(model)), false)
	var out, in [][]byte
	got := make([]byte, len(model))
	for off := 0; off < len(model); off += unit / 2 {
		out = append(out, model[off:off+unit/2])
		in = append(in, got[off:off+unit/2])
	}
	d.mustDo(block.Request{Op: block.Write, Buffers: out})
	d.mustDo(block.Request{Op: block.Read, Buffers: in})
	if !bytes.Equal(got, model) {
		t.Error("4 MiB in 2048 pieces come back changed")
	}
}

func testFlush(t *testing.T, open Open) {
	model := random(16*unit, 4)
	d := openDisk(t, open, make([]byte, len(model)), false)
	d.mustDo(block.Request{Op: block.Write, Buffers: [][]byte{model}})
	d.mustDo(block.Request{Op: block.Flush})
	d.compare(model)
}

func testDiscard(t *testing.T, open Open) {
	model := random(64*unit, 5)
	d := openDisk(t, open, model, false)
	err := d.do(block.Request{Op: block.Discard, Offset: 16 * unit, Length: 32 * unit})
	if !d.Geometry().Discard {
		if !errors.Is(err, block.ErrUnsupported) {
			t.Errorf("Discard without support = %v, want %v", err, block.ErrUnsupported)
		}
		d.compare(model)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	d.mustDo(block.Request{Op: block.Write, Offset: 16 * unit, Buffers: [][]byte{model[16*unit : 48*unit]}})
	d.compare(model)
	if d.Geometry().Size < int64(len(model)) {
		t.Error("the disk shrank")
	}
}

func testZero(t *testing.T, open Open) {
	model := random(1024*unit, 6)
	d := openDisk(t, open, model, false)
	err := d.do(block.Request{Op: block.Zero, Offset: 3 * unit, Length: 1000 * unit})
	if !d.Geometry().Zero {
		if !errors.Is(err, block.ErrUnsupported) {
			t.Errorf("Zero without support = %v, want %v", err, block.ErrUnsupported)
		}
		d.compare(model)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	clear(model[3*unit : 1003*unit])
	d.compare(model)
	d.mustDo(block.Request{Op: block.Write, Offset: 5 * unit, Buffers: [][]byte{bytes.Repeat([]byte{1}, unit)}})
	d.mustDo(block.Request{Op: block.Zero, Offset: 5 * unit, Length: unit})
	d.compare(model)
}

func testRefusals(t *testing.T, open Open) {
	model := random(16*unit, 7)
	d := openDisk(t, open, model, false)
	g := d.Geometry()
	buf := func(n int) [][]byte { return [][]byte{bytes.Repeat([]byte{0xee}, n)} }
	const huge = 1<<63 - 1 - unit + 1 // the largest multiple of a block
	tests := []struct {
		name string
		req  block.Request
		want error
	}{
		{"read behind the end", block.Request{Op: block.Read, Offset: g.Size, Buffers: buf(unit)}, block.ErrRange},
		{"read across the end", block.Request{Op: block.Read, Offset: g.Size - unit, Buffers: buf(2 * unit)}, block.ErrRange},
		{"write across the end", block.Request{Op: block.Write, Offset: g.Size - unit, Buffers: buf(2 * unit)}, block.ErrRange},
		{"negative offset", block.Request{Op: block.Write, Offset: -unit, Buffers: buf(2 * unit)}, block.ErrRange},
		{"sum overflows", block.Request{Op: block.Write, Offset: huge, Buffers: buf(unit)}, block.ErrRange},
		{"odd offset", block.Request{Op: block.Write, Offset: 1, Buffers: buf(unit)}, block.ErrAlign},
		{"odd length", block.Request{Op: block.Write, Buffers: buf(g.BlockSize - 1)}, block.ErrAlign},
		{"unknown operation", block.Request{Op: 200, Length: unit}, block.ErrUnsupported},
	}
	for _, op := range []block.Op{block.Discard, block.Zero} {
		if op == block.Discard && !g.Discard || op == block.Zero && !g.Zero {
			continue
		}
		tests = append(tests, []struct {
			name string
			req  block.Request
			want error
		}{
			{op.String() + " across the end", block.Request{Op: op, Offset: g.Size - unit, Length: 2 * unit}, block.ErrRange},
			{op.String() + " of a negative length", block.Request{Op: op, Offset: unit, Length: -unit}, block.ErrRange},
			{op.String() + " whose sum overflows", block.Request{Op: op, Offset: unit, Length: huge}, block.ErrRange},
			{op.String() + " of an odd length", block.Request{Op: op, Length: 1}, block.ErrAlign},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.do(tt.req); !errors.Is(err, tt.want) {
				t.Errorf("completes with %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("among others", func(t *testing.T) {
		good := func(tag uint64) block.Request { return block.Request{Op: block.Read, Buffers: buf(unit), Tag: tag} }
		d.submit(good(0), block.Request{Op: block.Read, Offset: -unit, Tag: 1}, good(2), block.Request{Op: 99, Tag: 3})
		for tag, want := range []error{nil, block.ErrRange, nil, block.ErrUnsupported} {
			if err := d.wait(uint64(tag)); !errors.Is(err, want) {
				t.Errorf("request %d completes with %v, want %v", tag, err, want)
			}
		}
	})
	d.compare(model)
}

func testReadOnly(t *testing.T, open Open) {
	model := random(16*unit, 8)
	d := openDisk(t, open, model, true)
	if g := d.Geometry(); !g.ReadOnly {
		t.Fatalf("Geometry() = %+v, want it read-only", g)
	}
	for _, op := range []block.Op{block.Write, block.Discard, block.Zero} {
		r := block.Request{Op: op, Length: unit}
		if op == block.Write {
			r.Buffers = [][]byte{make([]byte, unit)}
		}
		if err := d.do(r); !errors.Is(err, block.ErrReadOnly) {
			t.Errorf("%v completes with %v, want %v", op, err, block.ErrReadOnly)
		}
	}
	d.mustDo(block.Request{Op: block.Flush})
	d.compare(model)
}

func testEmptyRequests(t *testing.T, open Open) {
	model := random(4*unit, 9)
	d := openDisk(t, open, model, false)
	d.submit()
	d.mustDo(block.Request{Op: block.Read})
	d.mustDo(block.Request{Op: block.Write, Offset: unit, Buffers: [][]byte{{}, nil}})
	if d.Geometry().Zero {
		d.mustDo(block.Request{Op: block.Zero, Offset: d.Geometry().Size})
	}
	d.compare(model)
}

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
