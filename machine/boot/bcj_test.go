package boot

import (
	"bytes"
	"slices"
	"testing"
)

// TestDecodeBCJ holds cases worked out from the rules; TestUnpackXZTool compares with the real encoder.
func TestDecodeBCJ(t *testing.T) {
	cases := []struct {
		name     string
		start    uint32
		in, want []byte
	}{
		{"call to 0x1000", 0, []byte{0xe8, 0x00, 0x10, 0x00, 0x00}, []byte{0xe8, 0xfb, 0x0f, 0x00, 0x00}},
		{"jump with a start", 0x100, []byte{0xe9, 0x00, 0x10, 0x00, 0x00}, []byte{0xe9, 0xfb, 0x0e, 0x00, 0x00}},
		{"backwards", 0, []byte{0x90, 0xe8, 0x00, 0x00, 0x00, 0x00}, []byte{0x90, 0xe8, 0xfa, 0xff, 0xff, 0xff}},
		{"far operand", 0, []byte{0xe8, 0, 0, 0, 0x12}, []byte{0xe8, 0, 0, 0, 0x12}},
		{"cut short", 0, []byte{0xe8, 0, 0, 0}, []byte{0xe8, 0, 0, 0}},
		{"two left alone before it", 0, []byte{0xe8, 0xe8, 0xe8, 1, 1, 1, 0}, []byte{0xe8, 0xe8, 0xe8, 1, 1, 1, 0}},
		{"near top byte of one left alone", 0, []byte{0xe8, 0xe8, 0xe8, 1, 1, 0xe8, 0, 1, 1, 0}, []byte{0xe8, 0xe8, 0xe8, 1, 1, 0xe8, 0, 1, 1, 0}},
		{"far top byte of one left alone", 0, []byte{0xe8, 0xe8, 0xe8, 1, 1, 0xe8, 2, 1, 1, 0}, []byte{0xe8, 0xe8, 0xe8, 1, 1, 0xe8, 0xf8, 0, 1, 0}},
		{"other opcode", 0, []byte{0xea, 0, 0, 0, 0}, []byte{0xea, 0, 0, 0, 0}},
		{"empty", 0, nil, nil},
	}
	for _, tt := range cases {
		got := bytes.Clone(tt.in)
		decodeBCJ(got, tt.start)
		if !bytes.Equal(got, tt.want) {
			t.Errorf("%s: decodeBCJ(% x, %#x) = % x, want % x", tt.name, tt.in, tt.start, got, tt.want)
		}
	}
}

func FuzzDecodeBCJ(f *testing.F) {
	f.Add(uint32(0), calls(1, 64))
	f.Add(uint32(0xfffffff0), calls(2, 65))
	f.Fuzz(func(t *testing.T, start uint32, b []byte) {
		before := bytes.Clone(b)
		decodeBCJ(b, start)
		for i := range b { // opcodes stay, and nothing changes but their operands
			opcode := func(b byte) bool { return b == 0xe8 || b == 0xe9 }
			if b[i] != before[i] && !slices.ContainsFunc(before[max(0, i-4):i], opcode) {
				t.Fatalf("byte %d of % x changed to %#x, far from an opcode", i, before, b[i])
			}
		}
	})
}
