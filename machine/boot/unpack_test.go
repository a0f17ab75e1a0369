package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// unpackGuarded unpacks between two strips of canaries and reports a store into them.
func unpackGuarded(t *testing.T, size int, payload []byte) ([]byte, error) {
	t.Helper()
	const strip, canary = 64, 0xa5
	b := bytes.Repeat([]byte{canary}, size+2*strip)
	err := unpack(context.Background(), b[strip:strip+size:strip+size], payload)
	for i := range strip {
		if b[i] != canary || b[strip+size+i] != canary {
			t.Fatalf("a store near the output: % x, % x", b[:strip], b[strip+size:])
		}
	}
	return b[strip : strip+size], err
}

func TestUnpack(t *testing.T) {
	for _, c := range compressions {
		unit := chunk
		if c.name == "LZ4" {
			unit = lz4LegacyBlock
		}
		images := map[string][]byte{
			"small":           noise(1, 100),
			"medium":          noise(2, 300_000), // more than one block of ZSTD and chunk of LZMA2
			"one unit":        slices.Repeat(noise(3, 1<<14), unit>>14),
			"over the unit":   append(slices.Repeat(noise(4, 1<<14), unit>>14), noise(5, 1234)...),
			"compresses well": make([]byte, 3*unit),
		}
		for name, image := range images {
			t.Run(c.name+" "+name, func(t *testing.T) {
				got, err := unpackGuarded(t, len(image), c.pack(t, image))
				if err != nil || !bytes.Equal(got, image) {
					t.Errorf("unpack = %v, equal: %v", err, bytes.Equal(got, image))
				}
			})
		}
	}
}

// TestUnpackXZTool reads what xz-utils 5.4 made of calls(7, 16_000):
//
//	kernel.xz     --check=crc32 --x86 --lzma2=dict=32MiB, the kernel's own way
//	start.xz      --check=crc64 --x86=start=4096 --lzma2=preset=1
//	plain.xz      --check=sha256 --lzma2=preset=6
//	blocks.xz     --check=crc32 -T2 --block-size=5003 --x86 --lzma2=dict=4096
//	unchecked.xz  --check=none --x86 --lzma2=preset=0
func TestUnpackXZTool(t *testing.T) {
	want := calls(7, 16_000)
	for _, name := range []string{"kernel.xz", "start.xz", "plain.xz", "blocks.xz", "unchecked.xz"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpackGuarded(t, len(want), withSize(data, len(want)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: unpack = %v, equal: %v", name, err, bytes.Equal(got, want))
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	image := noise(4, 300_000)
	delta, err := os.ReadFile("testdata/delta.xz")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name    string
		payload []byte
		want    string
	}{
		{"bzip2", []byte("BZh91AY&SY"), "unsupported compression bzip2; build the kernel with CONFIG_KERNEL_LZ4, ZSTD, XZ or GZIP"},
		{"lzma", []byte("\x5d\x00\x00\x00\x02\xff\xff"), "unsupported compression LZMA; "},
		{"lzo", []byte("\x89LZO\x00\x0d\x0a"), "unsupported compression LZO; "},
		{"nothing known", []byte("\x01\x02\x03\x04\x05\x06\x07"), "unknown compression: the payload begins with 01 02 03 04 05 06"},
		{"xz with another filter", withSize(delta, 16_000), "unsupported xz filter 0x3"},
		{"xz header with a flipped bit", flip(packXZ(t, image), 7, 0x80), "corrupt xz header"},
		{"xz block header with a flipped bit", flip(packXZ(t, image), xzHeaderSize+2, 1), "corrupt xz header"},
		{"xz with a wrong checksum", flip(packXZ(t, image), -10, 1), "checksum "},
		{"lz4 block longer than the file", []byte(lz4LegacyMagic + "\xff\xff\xff\xffabcd\x00\x00\x00\x00"), "block of 4294967295 bytes: unexpected EOF"},
		{"zstd with a flipped bit", flip(packZSTD(t, image), -8, 1), "unpack ZSTD payload"},
		{"gzip with a flipped bit", flip(packGZIP(t, image), -6, 1), "unpack GZIP payload"},
	}
	for _, tt := range cases {
		if _, err := unpackGuarded(t, len(image), tt.payload); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: unpack = %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// flip changes bits of one byte; negative positions count from the end.
func flip(b []byte, at int, bits byte) []byte {
	if at < 0 {
		at += len(b)
	}
	b[at] ^= bits
	return b
}

// TestUnpackKeepsPromise feeds payloads that become more or less than was promised, as bombs do.
func TestUnpackKeepsPromise(t *testing.T) {
	for _, c := range compressions {
		image := make([]byte, 2<<20)
		if c.name == "LZ4" {
			image = make([]byte, 9<<20) // more than a block
		}
		payload := c.pack(t, image)
		for _, size := range []int{0, 1, 4096, len(image) - 1} {
			if _, err := unpackGuarded(t, size, payload); err == nil {
				t.Errorf("%s: %d bytes for %d: no error", c.name, size, len(image))
			}
		}
		if _, err := unpackGuarded(t, len(image)+1, payload); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("it unpacks to %d bytes instead of %d", len(image), len(image)+1)) {
			t.Errorf("%s: one byte too few: %v", c.name, err)
		}
		for _, cut := range []int{minPayload + sizeField, len(payload) / 2, len(payload) - 5} {
			if _, err := unpackGuarded(t, len(image), withSize(bytes.Clone(payload[:cut]), len(image))); err == nil {
				t.Errorf("%s: cut to %d of %d bytes: no error", c.name, cut, len(payload))
			}
		}
	}
}

func TestUnpackStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	image := noise(5, 100_000)
	for _, c := range compressions {
		if c.name == "ZSTD" {
			continue // one call of the library, as doc.go says
		}
		if err := unpack(ctx, make([]byte, len(image)), c.pack(t, image)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: unpack = %v, want %v", c.name, err, context.Canceled)
		}
	}
}

// TestUnpackNeedsNoHeap holds the monitor's memory down: the output itself is the window.
func TestUnpackNeedsNoHeap(t *testing.T) {
	const limit = 1 << 20
	image := slices.Repeat(noise(6, 1<<16), 6<<4)
	for _, c := range compressions {
		if c.name == "XZ" {
			continue // has a dictionary of its own, as doc.go says
		}
		payload, dst := c.pack(t, image), make([]byte, len(image))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := unpack(context.Background(), dst, payload)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err != nil || n > limit {
			t.Errorf("%s: unpack = %v, %d bytes allocated, want at most %d", c.name, err, n, limit)
		}
	}
}

// FuzzUnpack looks for crashes and for stores outside the output.
func FuzzUnpack(f *testing.F) {
	image := noise(8, 5000)
	for _, c := range compressions {
		f.Add(uint16(len(image)), c.pack(f, image))
	}
	for _, name := range []string{"kernel.xz", "blocks.xz", "start.xz"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(16_000), withSize(data, 16_000))
	}
	f.Fuzz(func(t *testing.T, size uint16, payload []byte) {
		if len(payload) < minPayload+sizeField {
			return // findPayload refuses them
		}
		unpackGuarded(t, int(size), payload)
	})
}
