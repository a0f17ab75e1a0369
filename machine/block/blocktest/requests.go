package blocktest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"usui/machine/block"
)

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
