package net

import (
	"encoding/binary"
	"testing"
)

// makeHeader fills a header in the order of its fields.
func makeHeader(flags, gso uint8, headers, segment, start, offset uint16) (h header) {
	h[0], h[1] = flags, gso
	for i, v := range []uint16{headers, segment, start, offset, 0xabcd} {
		binary.LittleEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

func TestWork(t *testing.T) {
	for _, tt := range []struct {
		features       uint64
		guest, forHost work
	}{
		{0, 0, 0},
		{FeatureGuestTSO4 | FeatureHostTSO4, 0, 0}, // without checksums
		{FeatureGuestCsum | FeatureCsum, workChecksum | workAsValid, workChecksum},
		{FeatureGuestCsum | FeatureGuestECN, workChecksum | workAsValid, 0},
		{FeatureGuestCsum | FeatureGuestUSO4, workChecksum | workAsValid, 0},
		{FeatureCsum | FeatureHostECN | FeatureHostTSO6, 0, workChecksum | workTSO6 | workECN},
		{OffloadFeatures, workChecksum | workTSO4 | workTSO6 | workECN | workUSO | workAsValid, workChecksum | workTSO4 | workTSO6 | workECN | workUSO},
	} {
		if g, h := workForGuest(tt.features), workForHost(tt.features); g != tt.guest || h != tt.forHost {
			t.Errorf("features %#x: work %#x and %#x, want %#x and %#x", tt.features, g, h, tt.guest, tt.forHost)
		}
	}
}

func TestHeaderCheck(t *testing.T) {
	const all = workChecksum | workTSO4 | workTSO6 | workECN | workUSO
	const n = 1000
	bare := header{}
	for _, tt := range []struct {
		name string
		h    header
		may  work
		want *header // nil: refused
	}{
		{"nothing", bare, 0, &bare},
		{"nothing to do, and stray fields", makeHeader(0, 0, 9, 9, 9, 9), 0, &bare},
		{"unknown flags", makeHeader(0xfe, 0, 0, 0, 0, 0), all, &bare},
		{"valid, from the host", makeHeader(dataValid, 0, 0, 0, 0, 0), all | workAsValid, &header{dataValid}},
		{"valid, to a driver without checksums", makeHeader(dataValid, 0, 0, 0, 0, 0), 0, &bare},
		{"checksum", makeHeader(1, 0, 7, 7, 34, 16), all, ptr(trimmed(makeHeader(1, 0, 0, 0, 34, 16)))},
		{"checksum at the end", makeHeader(1, 0, 0, 0, n-2, 0), all, ptr(trimmed(makeHeader(1, 0, 0, 0, n-2, 0)))},
		{"checksum behind the end", makeHeader(1, 0, 0, 0, n-2, 1), all, nil},
		{"checksum far behind the end", makeHeader(1, 0, 0, 0, 0xffff, 0xffff), all, nil},
		{"checksum of the addresses", makeHeader(1, 0, 0, 0, 13, 6), all, nil},
		{"checksum not accepted", makeHeader(1, 0, 0, 0, 34, 16), 0, nil},
		{"TCP4", makeHeader(1, gsoTCP4, 54, 1448, 34, 16), all, ptr(trimmed(makeHeader(1, gsoTCP4, 54, 1448, 34, 16)))},
		{"TCP6 with ECN", makeHeader(1, gsoTCP6|gsoECN, 74, 1, 54, 16), all, ptr(trimmed(makeHeader(1, gsoTCP6|gsoECN, 74, 1, 54, 16)))},
		{"UDP", makeHeader(1, gsoUDP, 42, 1, 34, 6), all, ptr(trimmed(makeHeader(1, gsoUDP, 42, 1, 34, 6)))},
		{"TCP4 not accepted", makeHeader(1, gsoTCP4, 54, 1448, 34, 16), all &^ workTSO4, nil},
		{"TCP6 not accepted", makeHeader(1, gsoTCP6, 54, 1448, 34, 16), all &^ workTSO6, nil},
		{"UDP not accepted", makeHeader(1, gsoUDP, 42, 1, 34, 6), all &^ workUSO, nil},
		{"ECN not accepted", makeHeader(1, gsoTCP4|gsoECN, 54, 1448, 34, 16), all &^ workECN, nil},
		{"ECN of UDP", makeHeader(1, gsoUDP|gsoECN, 42, 1, 34, 6), all, nil},
		{"ECN of nothing", makeHeader(1, gsoECN, 42, 1, 34, 6), all, nil},
		{"old UDP fragments", makeHeader(1, 3, 42, 1, 34, 6), all, nil},
		{"unknown", makeHeader(1, 2, 42, 1, 34, 6), all, nil},
		{"no segment size", makeHeader(1, gsoTCP4, 54, 0, 34, 16), all, nil},
		{"headers longer than the frame", makeHeader(1, gsoTCP4, n+1, 1448, 34, 16), all, nil},
		{"TCP behind the end", makeHeader(1, gsoTCP4, 54, 1448, n-19, 16), all, nil},
		{"TCP's checksum elsewhere", makeHeader(1, gsoTCP4, 54, 1448, 34, 17), all, nil},
		{"UDP's checksum elsewhere", makeHeader(1, gsoUDP, 42, 1, 34, 16), all, nil},
		{"segments that are summed, from the guest", makeHeader(0, gsoTCP4, 54, 1448, 0, 0), all, nil},
		{"segments that are summed, from the host", makeHeader(2, gsoTCP4, 54, 1448, 0, 0), all | workAsValid, ptr(trimmed(makeHeader(2, gsoTCP4, 54, 1448, 0, 0)))},
	} {
		got := tt.h
		ok := got.check(n, tt.may)
		if ok != (tt.want != nil) || ok && got != *tt.want {
			t.Errorf("%s: check = %v, % x; want % x", tt.name, ok, got, tt.want)
		}
	}
}

func ptr(h header) *header { return &h }

// trimmed is a header without a number of buffers, which check clears.
func trimmed(h header) header {
	h.setBuffers(0)
	return h
}

// FuzzHeader holds that whatever passes keeps what the receiver relies on.
func FuzzHeader(f *testing.F) {
	h := makeHeader(1, gsoTCP4, 54, 1448, 34, 16)
	f.Add(h[:], 1000, uint8(0xff))
	f.Fuzz(func(t *testing.T, b []byte, n int, may uint8) {
		var h header
		copy(h[:], b)
		n = ethernetHeader + n&0x1ffff
		if !h.check(n, work(may)) {
			return
		}
		partial := h[0]&needsChecksum != 0
		switch {
		case h[0]&^(needsChecksum|dataValid) != 0, h.word(10) != 0:
			t.Errorf("stray bits pass: % x", h)
		case partial && (work(may)&workChecksum == 0 || h.word(6)+h.word(8)+2 > n):
			t.Errorf("checksum at %d+%d in a frame of %d passes", h.word(6), h.word(8), n)
		case h[1] == gsoNone && (h.word(2) != 0 || h.word(4) != 0):
			t.Errorf("stray fields pass: % x", h)
		case h[1] != gsoNone && (h.word(4) == 0 || h.word(2) > n || !partial && work(may)&workAsValid == 0):
			t.Errorf("segments of no size pass: % x", h)
		}
		again := h
		if !again.check(n, work(may)) || again != h {
			t.Errorf("% x passes once and not twice", h)
		}
	})
}
