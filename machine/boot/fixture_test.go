package boot

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"

	"usui/machine/guestmem"
)

// noise is n bytes that a compressor finds something in, but not much; equal seeds give equal bytes.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, 0, n+16)
	for len(b) < n {
		if len(b) > 64 && r.IntN(2) == 0 {
			at := r.IntN(len(b) - 32)
			b = append(b, b[at:at+4+r.IntN(24)]...)
			continue
		}
		b = binary.LittleEndian.AppendUint32(b, r.Uint32())
	}
	return b[:n]
}

// calls is n bytes in which x86 call and jump opcodes stand everywhere, also inside what could be each other's operands.
func calls(seed uint64, n int) []byte {
	alphabet := [...]byte{0xe8, 0xe9, 0x00, 0xff, 0x00, 0xff, 0x01, 0xfe, 0x7f, 0xe8}
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return b
}

// testSegment is a PT_LOAD of a test image.
type testSegment struct {
	off, paddr uint64
	data       []byte
	bss        uint64 // bytes of memory beyond data
}

// testELF describes an ELF file; the zero value of a field is its usual value.
type testELF struct {
	bits32   bool
	machine  uint16
	entry    uint64
	segments []testSegment
	pvh      uint64 // 0: no note
	tail     int    // bytes of noise after the last segment, as section headers and relocations are
}

// build lays the file out: header, program headers, note, then the segments at their offsets.
func (t testELF) build() []byte {
	if t.machine == 0 {
		t.machine = emX86_64
	}
	var note []byte
	if t.pvh != 0 {
		// A note of somebody else first: the right one must be looked for.
		note = append(note, "\x04\x00\x00\x00\x05\x00\x00\x00\x12\x00\x00\x00GNU\x00hello\x00\x00\x00"...)
		note = append(note, "\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00"...)
		note = le.AppendUint32(note, uint32(t.pvh))
	}
	const noteAt = 0x400
	var phdrs []byte
	n := 0
	phdr := func(kind uint32, off, paddr, filesz, memsz, align uint64) {
		n++
		if t.bits32 {
			for _, v := range []uint64{uint64(kind), off, 0, paddr, filesz, memsz, 7, align} {
				phdrs = le.AppendUint32(phdrs, uint32(v))
			}
			return
		}
		phdrs = le.AppendUint32(phdrs, kind)
		phdrs = le.AppendUint32(phdrs, 7)
		for _, v := range []uint64{off, 0xffffffff80000000 + paddr, paddr, filesz, memsz, align} {
			phdrs = le.AppendUint64(phdrs, v)
		}
	}
	if t.pvh != 0 {
		phdr(ptNote, noteAt, 0, uint64(len(note)), uint64(len(note)), 4)
	}
	end := uint64(0x1000)
	for _, s := range t.segments {
		phdr(ptLoad, s.off, s.paddr, uint64(len(s.data)), uint64(len(s.data))+s.bss, 4096)
		end = max(end, s.off+uint64(len(s.data)))
	}
	file := make([]byte, end)
	copy(file, elfMagic)
	file[4], file[5], file[6] = elfClass64, elfData2, 1
	l := elf64
	if t.bits32 {
		l, file[4] = elf32, 1
	}
	le.PutUint16(file[16:], 2) // ET_EXEC
	le.PutUint16(file[18:], t.machine)
	put := le.PutUint64
	if t.bits32 {
		put = func(b []byte, v uint64) { le.PutUint32(b, uint32(v)) }
	}
	put(file[l.entry:], t.entry)
	put(file[l.phoff:], uint64(l.size))
	le.PutUint16(file[l.phentsize:], uint16(l.phSize))
	le.PutUint16(file[l.phnum:], uint16(n))
	copy(file[l.size:], phdrs)
	copy(file[noteAt:], note)
	for _, s := range t.segments {
		copy(file[s.off:], s.data)
	}
	return append(file, noise(99, t.tail)...)
}

// kernelELF is an image laid out as a Linux vmlinux is: the first segments in step with the file, the next ones lower
// in memory than in the file, and (which Linux has not) a last one higher.
func kernelELF() testELF {
	return testELF{
		entry: 0x1000040,
		segments: []testSegment{
			{off: 0x200000, paddr: 0x1000000, data: noise(1, 0x11234)},
			{off: 0x220000, paddr: 0x1020000, data: noise(2, 0x8000)},
			{off: 0x238000, paddr: 0x1028000, data: noise(3, 0x3000)},
			{off: 0x23b000, paddr: 0x102b000, data: noise(4, 0x10001), bss: 0x5000},
			{off: 0x252000, paddr: 0x1380000, data: noise(5, 0x2345), bss: 0x40000},
		},
		tail: 0x8123,
	}
}

// compression makes payloads of one kind as the kernel's build does, the size field included.
type compression struct {
	name string
	pack func(t testing.TB, image []byte) []byte
}

var compressions = []compression{
	{"LZ4", packLZ4}, {"ZSTD", packZSTD}, {"XZ", packXZ}, {"GZIP", packGZIP},
}

func withSize(b []byte, size int) []byte { return le.AppendUint32(b, uint32(size)) }

func packLZ4(t testing.TB, image []byte) []byte {
	t.Helper()
	out := []byte(lz4LegacyMagic)
	for rest := image; len(rest) > 0; {
		block := rest[:min(len(rest), lz4LegacyBlock)]
		rest = rest[len(block):]
		buf := make([]byte, lz4.CompressBlockBound(len(block)))
		n, err := lz4.CompressBlock(block, buf, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(le.AppendUint32(out, uint32(n)), buf[:n]...)
	}
	return withSize(out, len(image))
}

func packZSTD(t testing.TB, image []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	// A window much larger than the image and no content size in the frame, as "cat | zstd --ultra -22" leaves it.
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for rest := image; len(rest) > 0; {
		n := min(len(rest), 100_000)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return withSize(out.Bytes(), len(image))
}

func packGZIP(t testing.TB, image []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(image); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packXZ makes a stream of one block without BCJ, checked by SHA-256. Streams of the real tool are in testdata.
func packXZ(t testing.TB, image []byte) []byte {
	t.Helper()
	var data bytes.Buffer
	w, err := lzma.Writer2Config{DictCap: 1 << 20}.NewWriter2(&data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(image); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const dict1MiB = 16
	sum := sha256.Sum256(image)
	return withSize(xzStream(xzCheckSHA256, xzHeader(0, xzFilterLZMA2, 1, dict1MiB), data.Bytes(), sum[:]), len(image))
}

// xzHeader is a block header with the given flags, sizes and filters.
func xzHeader(flags byte, content ...byte) []byte {
	h := append([]byte{0, flags}, content...)
	for len(h)%4 != 0 {
		h = append(h, 0)
	}
	h[0] = byte(len(h) / 4)
	return le.AppendUint32(h, crc32.ChecksumIEEE(h))
}

// xzStream puts one block into a stream; of the index there is only the first byte, which ends the decoder's interest.
func xzStream(check byte, header, data, sum []byte) []byte {
	s := append([]byte("\xfd7zXZ\x00\x00"), check)
	s = le.AppendUint32(s, crc32.ChecksumIEEE(s[6:8]))
	s = append(append(s, header...), data...)
	for len(s)%4 != 0 {
		s = append(s, 0)
	}
	return append(append(s, sum...), xzIndexIndicator)
}

// testBzImage describes a bzImage; the zero value of a field is its usual value.
type testBzImage struct {
	payload     []byte
	prefAddress uint64
	initSize    uint32
	initrdMax   uint32
	cmdlineSize uint32
}

// build makes the file: a setup part of 4 sectors, then 0x100 bytes of stub, the payload, and more stub.
func (t testBzImage) build() []byte {
	const setupSects, stub = 4, 0x100
	b := make([]byte, (setupSects+1)*sectorSize+stub)
	copy(b, "MZ")
	for i := hdrStart; i < hdrLimit; i++ {
		b[i] = byte(i) // so that a copy of the header shows
	}
	b[hdrSetupSects] = setupSects
	le.PutUint16(b[hdrBootFlag:], bootFlag)
	b[hdrJump], b[hdrJump+1] = 0xeb, 0x6a // ends at 0x26c
	copy(b[hdrMagic:], hdrS)
	le.PutUint16(b[hdrVersion:], 0x20f)
	b[hdrLoadflags] = loadedHigh
	le.PutUint16(b[hdrXloadflags:], 0x7f)
	le.PutUint64(b[hdrSetupData:], 0x1234) // hostile: no such list
	le.PutUint32(b[hdrPayloadOffset:], stub)
	le.PutUint32(b[hdrPayloadLength:], uint32(len(t.payload)))
	le.PutUint64(b[hdrPrefAddress:], orDefault(t.prefAddress, 0x1000000))
	le.PutUint32(b[hdrInitSize:], orDefault(t.initSize, 0x600000))
	le.PutUint32(b[hdrInitrdAddrMax:], orDefault(t.initrdMax, defaultInitrdMax))
	le.PutUint32(b[hdrCmdlineSize:], orDefault(t.cmdlineSize, defaultCmdlineSize))
	b = append(b, t.payload...)
	return append(b, "more of the stub"...)
}

func orDefault[T uint32 | uint64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// with is v after a change.
func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

// newMemory is size bytes of guest memory from 0 on.
func newMemory(t testing.TB, size uint64) *guestmem.Memory {
	t.Helper()
	return newMemoryAt(t, guestmem.Range{Start: 0, Size: size})
}

func newMemoryAt(t testing.TB, ranges ...guestmem.Range) *guestmem.Memory {
	t.Helper()
	mem, err := guestmem.New(ranges)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem
}

// slice is guest memory that must be there.
func slice(t testing.TB, mem *guestmem.Memory, gpa, n uint64) []byte {
	t.Helper()
	b, err := mem.Slice(gpa, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
