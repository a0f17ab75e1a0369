package boot

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"usui/machine/guestmem"
)

// arm64Image is the start of a flat arm64 Image that needs 32 MiB.
func arm64Image() []byte {
	b := make([]byte, 200)
	copy(b, "MZ\x40\xfa")
	le.PutUint64(b[8:], 0x80000)
	le.PutUint64(b[16:], 32<<20)
	le.PutUint64(b[24:], 0xa)
	copy(b[56:], "ARM\x64")
	return b
}

func TestParseARM64Header(t *testing.T) {
	want := arm64Header{textOffset: 0x80000, imageSize: 32 << 20}
	for name, image := range map[string][]byte{"flat": arm64Image(), "gzip": packGZIP(t, arm64Image())} {
		if h, err := parseARM64Header(image); err != nil || *h != want {
			t.Errorf("%s: parseARM64Header = %+v, %v, want %+v", name, h, err, want)
		}
	}
	cases := map[string][]byte{
		"truncated: 60 bytes":    arm64Image()[:60],
		"without image_size":     with(arm64Image(), func(b *[]byte) { clear((*b)[16:24]) }),
		"big-endian arm64 Image": flip(arm64Image(), 24, 1),
	}
	for want, image := range cases {
		if h, err := parseARM64Header(image); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseARM64Header = %+v, %v, want %q", h, err, want)
		}
	}
}

// TestForeignArchitectureOnARM64 asks what an arm64 machine says to both kinds of kernels.
func TestForeignArchitectureOnARM64(t *testing.T) {
	mem := newMemory(t, 1<<20)
	_, err := loadKernel(context.Background(), mem, testBzImage{payload: []byte("0123456789")}.build(), archARM64)
	if err == nil || err.Error() != "a kernel for x86_64; this machine is aarch64" {
		t.Errorf("bzImage: %v", err)
	}
	_, err = loadKernel(context.Background(), mem, arm64Image(), archARM64)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "32 MiB") {
		t.Errorf("Image: %v", err)
	}
}

// TestFaultIsAnError cuts a file while it is mapped: every way of reading it must end in an error.
func TestFaultIsAnError(t *testing.T) {
	image := make([]byte, 200_000)
	payloads := map[string][]byte{"plain": noise(1, 200_000)}
	for _, c := range compressions {
		payloads[c.name] = c.pack(t, noise(1, 200_000))
	}
	for name, payload := range payloads {
		path := t.TempDir() + "/kernel"
		if err := os.WriteFile(path, payload, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = withMapped(f, func(b []byte) error {
			if err := os.Truncate(path, pageSize); err != nil {
				return err
			}
			if name == "plain" {
				copy(image, b)
				return nil
			}
			return unpack(context.Background(), image, b)
		})
		if err == nil || !strings.HasPrefix(err.Error(), path+": a memory fault while it was loaded") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithMappedPassesOtherPanics(t *testing.T) {
	f, err := os.Open("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer func() {
		if r := recover(); r != "BUG: test" {
			t.Errorf("recover() = %v", r)
		}
	}()
	t.Error(withMapped(f, func([]byte) error { panic("BUG: test") }))
}

// TestSettle moves random segments by random distances and compares with plain copies.
func TestSettle(t *testing.T) {
	const base, room = 1 << 20, 64 << 10
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		file := noise(seed, room)
		e := &elfImage{}
		off, paddr := uint64(r.IntN(3000)), base-uint64(r.IntN(8000))
		for {
			n := uint64(1 + r.IntN(9000))
			if off+n > room {
				break
			}
			e.segments = append(e.segments, segment{off: off, filesz: n, paddr: paddr, memsz: n + 5})
			off += n + uint64(r.IntN(2)*r.IntN(4000))
			paddr += n + 5 + uint64(r.IntN(2)*r.IntN(4000))
		}
		want := make([]byte, 2<<20)
		for _, s := range e.segments {
			copy(want[s.paddr:], file[s.off:s.off+s.filesz])
		}
		mem := newMemory(t, 2<<20)
		got := slice(t, mem, 0, 2<<20)
		copy(got[base:], file)
		if err := settle(mem, e, base, room); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: memory differs for %+v", seed, e.segments)
		}
	}
}

// FuzzKernel feeds whole images; whatever loads must lie where images may.
func FuzzKernel(f *testing.F) {
	small := testELF{entry: 0x100040, segments: []testSegment{{off: 0x1000, paddr: 0x100000, data: noise(1, 3000), bss: 100}}}
	f.Add(small.build())
	f.Add(with(small, func(e *testELF) { e.pvh = 0x100040 }).build())
	f.Add(with(small, func(e *testELF) { e.bits32, e.pvh = true, 0x100040 }).build())
	for _, c := range compressions {
		f.Add(testBzImage{payload: c.pack(f, small.build()), prefAddress: 0x100000, initSize: 0x10000}.build())
	}
	f.Add(arm64Image())
	f.Add(packGZIP(f, arm64Image()))
	mem := newMemory(f, 4<<20)
	floor, zeros := slice(f, mem, 0, imageFloor), make([]byte, imageFloor)
	f.Fuzz(func(t *testing.T, image []byte) {
		for _, arch := range []string{archX86, archARM64} {
			k, err := loadKernel(context.Background(), mem, image, arch)
			if err == nil && (k.entry < imageFloor || k.entry >= 4<<20 || k.end > 4<<20) {
				t.Fatalf("loadKernel = %+v, outside memory", k)
			}
		}
		if !bytes.Equal(floor, zeros) {
			t.Fatal("a kernel was put below 1 MiB")
		}
	})
}

// FuzzELF goes deeper into the headers: the rest of the file is always long enough.
func FuzzELF(f *testing.F) {
	small := testELF{entry: 0x100040, pvh: 0x100040, segments: []testSegment{{off: 0x1000, paddr: 0x100000, data: noise(1, 3000), bss: 100}}}
	f.Add(small.build()[:0x1000])
	f.Add(with(small, func(e *testELF) { e.bits32 = true }).build()[:0x1000])
	mem, err := guestmem.New([]guestmem.Range{{Start: 0, Size: 2 << 20}, {Start: 3 << 20, Size: 1 << 20}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { mem.Close() })
	f.Fuzz(func(t *testing.T, head []byte) {
		image := append(bytes.Clone(head), make([]byte, 8192)...)
		e, err := loadELF(context.Background(), mem, image)
		if err != nil {
			return
		}
		for _, s := range e.segments {
			if s.paddr < imageFloor || s.paddr+s.memsz > 4<<20 {
				t.Fatalf("segment %+v outside memory", s)
			}
		}
	})
}

func TestFirstWrittenLiesInFreeRAM(t *testing.T) {
	const mib = 1 << 20
	k := &kernel{imageEnd: 56*mib + 123, end: 68 * mib}
	for _, tt := range []struct {
		name   string
		ram    []guestmem.Range
		initrd guestmem.Range
		want   []guestmem.Range // in MiB
	}{
		{"RAM disk at the top", []guestmem.Range{{Start: 0, Size: 512 * mib}}, guestmem.Range{Start: 507*mib + 4096, Size: 5*mib - 4096},
			[]guestmem.Range{{Start: 58, Size: 26}, {Start: 496, Size: 12}}},
		{"no RAM disk", []guestmem.Range{{Start: 0, Size: 512 * mib}}, guestmem.Range{},
			[]guestmem.Range{{Start: 58, Size: 26}, {Start: 500, Size: 12}}},
		{"RAM disk below the top", []guestmem.Range{{Start: 0, Size: 3072 * mib}}, guestmem.Range{Start: 2040 * mib, Size: 8 * mib},
			[]guestmem.Range{{Start: 58, Size: 34}, {Start: 3024, Size: 48}}},
		{"RAM above 4 GiB", []guestmem.Range{{Start: 0, Size: 3072 * mib}, {Start: 4096 * mib, Size: 1024 * mib}}, guestmem.Range{Start: 2040 * mib, Size: 8 * mib},
			[]guestmem.Range{{Start: 58, Size: 34}, {Start: 5072, Size: 48}}},
		{"little RAM above 4 GiB", []guestmem.Range{{Start: 0, Size: 3072 * mib}, {Start: 4096 * mib, Size: mib}}, guestmem.Range{}, nil},
		{"little RAM", []guestmem.Range{{Start: 0, Size: 64 * mib}}, guestmem.Range{}, nil},
		{"hardly more than the kernel", []guestmem.Range{{Start: 0, Size: 72 * mib}}, guestmem.Range{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := firstWritten(newMemoryAt(t, tt.ram...), k, tt.initrd)
			for i := range got {
				got[i] = guestmem.Range{Start: got[i].Start / mib, Size: got[i].Size / mib}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("firstWritten = %v MiB, want %v", got, tt.want)
			}
		})
	}
}
