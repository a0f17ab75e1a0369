package block

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSettle(t *testing.T) {
	type answer struct {
		n   int
		err error
	}
	two := [][]byte{make([]byte, 512), make([]byte, 512)}
	tests := []struct {
		name    string
		op      Op
		device  bool
		answers []answer
		calls   int // answers that are used
		want    error
	}{
		{"whole", Read, false, []answer{{1024, nil}}, 1, nil},
		{"short, twice", Write, false, []answer{{1, nil}, {700, nil}, {323, nil}}, 3, nil},
		{"put off", Read, false, []answer{{0, unix.EAGAIN}, {0, unix.EINTR}, {0, unix.ECANCELED}, {1024, nil}}, 4, nil},
		{"put off while flushing", Flush, false, []answer{{0, unix.EINTR}, {0, nil}}, 2, nil},
		{"an error half-way", Write, false, []answer{{512, nil}, {0, unix.ENOSPC}}, 2, unix.ENOSPC},
		{"the end of a file", Read, false, []answer{{512, nil}, {0, nil}}, 2, nil},
		{"the end of a device", Read, true, []answer{{512, nil}, {0, nil}}, 2, io.ErrUnexpectedEOF},
		{"nothing written", Write, false, []answer{{0, nil}}, 1, io.ErrUnexpectedEOF},
		{"no such discard", Discard, true, []answer{{0, unix.EOPNOTSUPP}}, 1, ErrUnsupported},
		{"zero by the file system", Zero, false, []answer{{0, nil}}, 1, nil},
		{"zero by writing", Zero, false, []answer{{0, unix.EOPNOTSUPP}, {1000, nil}, {24, nil}}, 3, nil},
		{"zero not even by writing", Zero, false, []answer{{0, unix.EOPNOTSUPP}, {0, unix.EOPNOTSUPP}}, 2, ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &File{path: "d.img", device: tt.device}
			j := f.newJob(&Request{Op: tt.op, Offset: 4096, Length: 1024, Buffers: two}, nil)
			calls, over := 0, false
			var err error
			for !over && calls < len(tt.answers) {
				over, err = f.settle(&j, tt.answers[calls].n, tt.answers[calls].err)
				calls++
			}
			if !over || calls != tt.calls || !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("over %v after %d calls with %v, want %d calls and %v", over, calls, err, tt.calls, tt.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "d.img: "+tt.op.String()) {
				t.Errorf("%q does not say what was tried", err)
			}
		})
	}
}

// A zero range in flight does not become a write because another one found that the file system has none.
func TestSettleKeepsZeroModesApart(t *testing.T) {
	f := &File{}
	a := f.newJob(&Request{Op: Zero, Length: 512}, nil)
	b := f.newJob(&Request{Op: Zero, Length: 512}, nil)
	if over, _ := f.settle(&a, 0, unix.EOPNOTSUPP); over {
		t.Fatal("no second try")
	}
	if over, err := f.settle(&b, 0, nil); !over || err != nil {
		t.Errorf("the other one: over %v, %v", over, err)
	}
	if c := f.newJob(&Request{Op: Zero, Length: 512}, nil); !c.writes {
		t.Error("a third one tries the zero range again")
	}
}

func TestSettleGivesUpOnAFileThatAlwaysPutsOff(t *testing.T) {
	f := &File{}
	j := f.newJob(&Request{Op: Read, Buffers: [][]byte{make([]byte, 512)}}, nil)
	for range maxAgain {
		if over, err := f.settle(&j, 0, unix.EAGAIN); over {
			t.Fatalf("over with %v", err)
		}
	}
	if over, err := f.settle(&j, 0, unix.EAGAIN); !over || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("over %v, %v; want EAGAIN", over, err)
	}
}

func TestNextZeroesStaysInTheRequest(t *testing.T) {
	f := &File{}
	j := f.newJob(&Request{Op: Zero, Length: zeroChunk + 512}, nil)
	for _, want := range []int{zeroChunk, 512} {
		b := f.nextZeroes(&j)
		if len(b) != 1 || len(b[0]) != want {
			t.Fatalf("%d buffers, the first of %d bytes, want one of %d", len(b), len(b[0]), want)
		}
		j.pos += int64(len(b[0]))
	}
}
