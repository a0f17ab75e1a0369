package blocktest

import (
	"bytes"
	"errors"
	"testing"

	"usui/machine/block"
)

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
