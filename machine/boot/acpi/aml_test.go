package acpi

import (
	"bytes"
	"fmt"
	"testing"
)

func TestInteger(t *testing.T) {
	cases := []struct {
		v    uint64
		want term
	}{
		{0, term{0x00}},
		{1, term{0x01}},
		{2, term{0x0a, 2}},
		{0xff, term{0x0a, 0xff}},
		{0x100, term{0x0b, 0x00, 0x01}},
		{0xffff, term{0x0b, 0xff, 0xff}},
		{0x10000, term{0x0c, 0, 0, 1, 0}},
		{0xffffffff, term{0x0c, 0xff, 0xff, 0xff, 0xff}},
		{0x100000000, term{0x0e, 0, 0, 0, 0, 1, 0, 0, 0}},
	}
	for _, tt := range cases {
		if got := integer(tt.v); !bytes.Equal(got, tt.want) {
			t.Errorf("integer(%#x) = % x, want % x", tt.v, got, tt.want)
		}
	}
}

// TestSized goes over every length at which the encoding of lengths itself grows.
func TestSized(t *testing.T) {
	big := make([]byte, 1<<20+16)
	check := func(n int, wantBytes int) {
		t.Helper()
		got := sized([]byte{opPackage}, big[:n])
		length, used := packageLength(got[1:])
		if used != wantBytes || length != len(got)-1 || len(got) != 1+used+n {
			t.Errorf("%d bytes of content: a length of %d in %d bytes, want %d in %d", n, length, used, len(got)-1, wantBytes)
		}
	}
	for n := range 4200 {
		switch {
		case n <= 62:
			check(n, 1)
		case n <= 4093:
			check(n, 2)
		default:
			check(n, 3)
		}
	}
	for n := 1<<20 - 8; n < 1<<20+8; n++ {
		check(n, map[bool]int{true: 3, false: 4}[n <= 1<<20-4])
	}
}

// packageLength decodes ACPI 6.5 section 20.2.4.
func packageLength(b []byte) (length, used int) {
	follow := int(b[0] >> 6)
	if follow == 0 {
		return int(b[0] & 0x3f), 1
	}
	length = int(b[0] & 0xf)
	for i := range follow {
		length |= int(b[1+i]) << (4 + 8*i)
	}
	return length, 1 + follow
}

// TestEisaID takes every id of the tables apart again.
func TestEisaID(t *testing.T) {
	for _, want := range []string{"PNP0A08", "PNP0A03", "PNP0C02", "PNP0501", "PNP0C0C"} {
		if got := decodeEisaID(eisaID(want)[1:]); got != want {
			t.Errorf("eisaID(%s) reads as %s", want, got)
		}
	}
	// ACPI 6.5 section 19.6.35 gives this one in full.
	if got, want := eisaID("PNP0C09"), (term{0x0c, 0x41, 0xd0, 0x0c, 0x09}); !bytes.Equal(got, want) {
		t.Errorf("eisaID(PNP0C09) = % x, want % x", got, want)
	}
}

func decodeEisaID(b []byte) string {
	v := uint16(b[0])<<8 | uint16(b[1])
	return fmt.Sprintf("%c%c%c%02X%02X", '@'+v>>10&0x1f, '@'+v>>5&0x1f, '@'+v&0x1f, b[2], b[3])
}
