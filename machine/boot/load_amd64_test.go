package boot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usui/machine/guestmem"
)

// file puts content into a file and opens it.
func file(t testing.TB, name string, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// checkSegments compares memory from 1 MiB on with what an ELF file asks for: segments, and zeros everywhere else.
func checkSegments(t *testing.T, mem *guestmem.Memory, image testELF) {
	t.Helper()
	want := make([]byte, mem.Size())
	for _, s := range image.segments {
		copy(want[s.paddr:], s.data)
	}
	got := slice(t, mem, 0, mem.Size())
	for at := imageFloor; at < len(want); at += pageSize {
		if !bytes.Equal(got[at:at+pageSize], want[at:at+pageSize]) {
			t.Fatalf("page %#x differs from the image", at)
		}
	}
}

// TestLoadBzImage loads one image in each compression, with the first segment at and off the place that the
// kernel's linker gives it.
func TestLoadBzImage(t *testing.T) {
	image := kernelELF()
	odd := kernelELF()
	odd.segments[0].off = 0x180000
	for _, c := range compressions {
		for name, elf := range map[string]testELF{"usual": image, "odd": odd} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				mem := newMemory(t, 23<<20)
				raw := testBzImage{payload: c.pack(t, elf.build())}.build()
				e, err := Load(t.Context(), Config{Memory: mem, Kernel: file(t, "vmlinuz", raw)})
				if err != nil {
					t.Fatal(err)
				}
				want := Entry{Protocol: Linux64, RIP: 0x1000040, RSI: zeroPageAddr, CR3: pageTableAddr, GDT: guestmem.Range{Start: gdtAddr, Size: 48}}
				if e != want {
					t.Errorf("Load = %+v, want %+v", e, want)
				}
				checkSegments(t, mem, elf)
			})
		}
	}
}

func TestLoadELF(t *testing.T) {
	cases := []struct {
		name string
		elf  testELF
		want Entry
	}{
		{"vmlinux", kernelELF(), Entry{Protocol: Linux64, RIP: 0x1000040, RSI: zeroPageAddr, CR3: pageTableAddr}},
		{"vmlinux with PVH", with(kernelELF(), func(e *testELF) { e.pvh = 0x1020010 }), Entry{Protocol: PVH32, RIP: 0x1020010, RBX: pvhAddr}},
		{"32 bits", with(kernelELF(), func(e *testELF) { e.bits32, e.machine, e.pvh = true, em386, 0x1000123 }), Entry{Protocol: PVH32, RIP: 0x1000123, RBX: pvhAddr}},
		{"segments out of order in the file", with(kernelELF(), func(e *testELF) {
			e.segments[0].off, e.segments[1].off = e.segments[1].off, e.segments[0].off
		}), Entry{Protocol: Linux64, RIP: 0x1000040, RSI: zeroPageAddr, CR3: pageTableAddr}},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			mem := newMemory(t, 23<<20)
			e, err := Load(t.Context(), Config{Memory: mem, Kernel: file(t, "vmlinux", tt.elf.build())})
			if err != nil {
				t.Fatal(err)
			}
			if e.GDT = (guestmem.Range{}); e != tt.want {
				t.Errorf("Load = %+v, want %+v", e, tt.want)
			}
			if s := e.Protocol.String(); (e.Protocol == PVH32) != (s == "PVH entry") || (e.Protocol == Linux64) != (s == "64-bit Linux entry") {
				t.Errorf("protocol %d prints as %q", e.Protocol, s)
			}
			checkSegments(t, mem, tt.elf)
		})
	}
}

// twoRegions is memory with a hole, as a machine with more than 3 GiB has it, but smaller.
func twoRegions(t *testing.T) *guestmem.Memory {
	return newMemoryAt(t, guestmem.Range{Start: 0, Size: 48 << 20}, guestmem.Range{Start: 4 << 30, Size: 16 << 20})
}

func TestLoadWritesZeroPage(t *testing.T) {
	mem := twoRegions(t)
	raw := testBzImage{payload: packLZ4(t, kernelELF().build())}.build()
	initrd := noise(7, 3<<20+77)
	const cmdline = "console=ttyS0 root=/dev/vda"
	ecam := guestmem.Range{Start: 0xe0000000, Size: 1 << 20}
	e, err := Load(t.Context(), Config{
		Memory: mem, Kernel: file(t, "vmlinuz", raw), Initrd: file(t, "initrd", initrd),
		Cmdline: cmdline, RSDP: 0x1234e0000, Reserved: []guestmem.Range{ecam},
	})
	if err != nil {
		t.Fatal(err)
	}
	zp := slice(t, mem, e.RSI, pageSize)

	// The header is the file's own up to its end, but for the fields that a loader fills in.
	want := bytes.Clone(raw[hdrStart:0x26c])
	field := func(off int) []byte { return want[off-hdrStart:] }
	initrdStart := uint32(48<<20 - 3<<20 - 4096)
	field(hdrTypeOfLoader)[0] = 0xff
	le.PutUint64(field(hdrSetupData), 0)
	le.PutUint32(field(hdrCmdLinePtr), cmdlineAddr)
	le.PutUint32(field(hdrRamdiskImage), initrdStart)
	le.PutUint32(field(hdrRamdiskSize), uint32(len(initrd)))
	if got := zp[hdrStart:0x26c]; !bytes.Equal(got, want) {
		t.Errorf("setup header = % x\nwant % x", got, want)
	}
	if rest := zp[0x26c:bpE820Table]; len(bytes.Trim(rest, "\x00")) > 0 {
		t.Errorf("after the header: % x, want zeros", rest)
	}
	if got := le.Uint64(zp[0x70:]); got != 0x1234e0000 {
		t.Errorf("acpi_rsdp_addr = %#x", got)
	}
	if zp[0x1ef] != 0 {
		t.Error("sentinel is set: the kernel would clear the ext_ fields")
	}
	if got := slice(t, mem, cmdlineAddr, uint64(len(cmdline))+1); string(got) != cmdline+"\x00" {
		t.Errorf("command line = %q", got)
	}
	if got := slice(t, mem, uint64(initrdStart), uint64(len(initrd))); !bytes.Equal(got, initrd) {
		t.Error("initial RAM disk differs from the file")
	}
	checkE820(t, zp, [][3]uint64{
		{0, 0xa0000, 1}, {0xa0000, 0x60000, 2}, {0x100000, 47 << 20, 1}, {4 << 30, 16 << 20, 1}, {0xe0000000, 1 << 20, 2},
	})
	checkIdentity(t, mem, e.CR3)
	checkGDT(t, mem, e, 0x00af9b000000ffff)
}

// checkE820 reads the table as sizes and places stand in zero-page.rst.
func checkE820(t *testing.T, zp []byte, want [][3]uint64) {
	t.Helper()
	if int(zp[0x1e8]) != len(want) {
		t.Fatalf("e820_entries = %d, want %d", zp[0x1e8], len(want))
	}
	for i, w := range want {
		e := zp[0x2d0+20*i:]
		if got := [3]uint64{le.Uint64(e), le.Uint64(e[8:]), uint64(le.Uint32(e[16:]))}; got != w {
			t.Errorf("e820[%d] = %#x, want %#x", i, got, w)
		}
	}
}

// checkIdentity walks the page tables as a processor does.
func checkIdentity(t *testing.T, mem *guestmem.Memory, cr3 uint64) {
	t.Helper()
	entry := func(table, index uint64) uint64 {
		return le.Uint64(slice(t, mem, table+8*index, 8))
	}
	const addressBits = 0x000ffffffffff000
	for _, va := range []uint64{0, 0x7000, 0x1000040, 0x3fffffff, 0x40000000, 0xc0000000, 0xffffffff} {
		top := entry(cr3, va>>39&0x1ff)
		upper := entry(top&addressBits, va>>30&0x1ff)
		leaf := entry(upper&addressBits, va>>21&0x1ff)
		if top&3 != 3 || upper&0x83 != 3 || leaf&0x83 != 0x83 {
			t.Errorf("page tables for %#x: %#x %#x %#x", va, top, upper, leaf)
		}
		if pa := leaf&addressBits&^0x1fffff | va&0x1fffff; pa != va {
			t.Errorf("%#x maps to %#x", va, pa)
		}
	}
}

func checkGDT(t *testing.T, mem *guestmem.Memory, e Entry, code uint64) {
	t.Helper()
	b := slice(t, mem, e.GDT.Start, e.GDT.Size)
	for sel, want := range map[int]uint64{0: 0, 0x10: code, 0x18: 0x00cf93000000ffff, 0x20: 0x00008b0000000067} {
		if got := le.Uint64(b[sel:]); got != want {
			t.Errorf("descriptor %#x = %#x, want %#x", sel, got, want)
		}
	}
}

func TestLoadWritesStartInfo(t *testing.T) {
	mem := twoRegions(t)
	elf := kernelELF()
	elf.pvh = 0x1000100
	initrd := noise(7, 5000)
	e, err := Load(t.Context(), Config{
		Memory: mem, Kernel: file(t, "vmlinux", elf.build()), Initrd: file(t, "initrd", initrd), Cmdline: "quiet", RSDP: 0xe0000,
	})
	if err != nil {
		t.Fatal(err)
	}
	info := slice(t, mem, e.RBX, 56)
	u32 := func(off int) uint32 { return le.Uint32(info[off:]) }
	u64 := func(off int) uint64 { return le.Uint64(info[off:]) }
	if u32(0) != 0x336ec578 || u32(4) != 1 || u32(8) != 0 || u64(32) != 0xe0000 || u32(52) != 0 {
		t.Errorf("hvm_start_info = % x", info)
	}
	if got := slice(t, mem, u64(24), 6); string(got) != "quiet\x00" {
		t.Errorf("command line = %q", got)
	}
	if u32(12) != 1 {
		t.Fatalf("%d modules, want 1", u32(12))
	}
	module := slice(t, mem, u64(16), 32)
	if got := slice(t, mem, le.Uint64(module), le.Uint64(module[8:])); !bytes.Equal(got, initrd) || len(bytes.Trim(module[16:], "\x00")) > 0 {
		t.Errorf("module % x: not the initial RAM disk", module)
	}
	want := [][3]uint64{{0, 0xa0000, 1}, {0xa0000, 0x60000, 2}, {0x100000, 47 << 20, 1}, {4 << 30, 16 << 20, 1}}
	if int(u32(48)) != len(want) {
		t.Fatalf("%d ranges, want %d", u32(48), len(want))
	}
	for i, w := range want {
		m := slice(t, mem, u64(40)+24*uint64(i), 24)
		if got := [3]uint64{le.Uint64(m), le.Uint64(m[8:]), le.Uint64(m[16:])}; got != w {
			t.Errorf("memory map [%d] = %#x, want %#x", i, got, w)
		}
	}
	checkGDT(t, mem, e, 0x00cf9b000000ffff)
}

func TestLoadELFMakesAHeader(t *testing.T) {
	mem := newMemory(t, 32<<20)
	e, err := Load(t.Context(), Config{Memory: mem, Kernel: file(t, "vmlinux", kernelELF().build()), Cmdline: "quiet"})
	if err != nil {
		t.Fatal(err)
	}
	zp := slice(t, mem, e.RSI, pageSize)
	if string(zp[0x202:0x206]) != "HdrS" || le.Uint16(zp[0x1fe:]) != 0xaa55 || zp[0x210] != 0xff || zp[0x211] != 1 {
		t.Errorf("header = % x", zp[0x1f1:0x268])
	}
	if ptr, image, size := le.Uint32(zp[0x228:]), le.Uint32(zp[0x218:]), le.Uint32(zp[0x21c:]); ptr != cmdlineAddr || image != 0 || size != 0 {
		t.Errorf("command line at %#x, RAM disk %#x bytes at %#x", ptr, size, image)
	}
}

// TestLoadPlacesInitrd checks the limits one byte to both sides. The kernel ends at 0x1600000 (pref_address + init_size).
func TestLoadPlacesInitrd(t *testing.T) {
	payload := packGZIP(t, kernelELF().build())
	cases := []struct {
		name      string
		max       uint32
		size      int
		wantStart uint64 // 0: an error
	}{
		{"highest in memory", 0, 100, 32<<20 - 4096},
		{"below initrd_addr_max", 0x1bfffff, 0x1001, 0x1bfe000},
		{"fills the room", 0, 32<<20 - 0x1600000, 0x1600000},
		{"one byte too much", 0, 32<<20 - 0x1600000 + 1, 0},
		{"maximum inside the kernel", 0x1500000, 1, 0},
	}
	for _, tt := range cases {
		mem := newMemory(t, 32<<20)
		initrd := noise(3, tt.size)
		kernel := file(t, "vmlinuz", testBzImage{payload: payload, initrdMax: tt.max}.build())
		e, err := Load(t.Context(), Config{Memory: mem, Kernel: kernel, Initrd: file(t, "initrd", initrd)})
		if tt.wantStart == 0 {
			if err == nil || !strings.Contains(err.Error(), "does not fit between the kernel's end at 22 MiB and ") {
				t.Errorf("%s: Load = %v", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		zp := slice(t, mem, e.RSI, pageSize)
		start, size := uint64(le.Uint32(zp[hdrRamdiskImage:])), le.Uint32(zp[hdrRamdiskSize:])
		if start != tt.wantStart || int(size) != tt.size || !bytes.Equal(slice(t, mem, start, uint64(size)), initrd) {
			t.Errorf("%s: %d bytes at %#x, want %d at %#x", tt.name, size, start, tt.size, tt.wantStart)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	lz4 := packLZ4(t, kernelELF().build())
	usual := func() []byte { return testBzImage{payload: lz4}.build() }
	put16 := func(off int, v uint16) []byte { b := usual(); le.PutUint16(b[off:], v); return b }
	elf := func(change func(*testELF)) []byte { return with(kernelELF(), change).build() }
	cases := []struct {
		name   string
		kernel []byte
		want   string
	}{
		{"empty", nil, "0 bytes are no kernel"},
		{"text", []byte("#!/bin/sh\necho hello\n"), "not a kernel: begins with 23 21 2f 62 69 6e 2f 73; a bzImage (vmlinuz) or ELF file (vmlinux) is needed"},
		{"initrd", []byte("070701000000"), "a cpio archive; is it the initial RAM disk?"},
		{"gzip", packGZIP(t, []byte("hello")), "compressed with gzip; unpack it first"},
		{"deb", []byte("!<arch>\ndebian-binary"), "an archive (a Debian package?); take the kernel out of it first"},
		{"zboot", []byte("MZ\x00\x00zimg............"), "an EFI zboot image"},
		{"arm64 Image", arm64Image(), "a kernel for aarch64; this machine is x86_64"},
		{"arm64 Image, gzip", packGZIP(t, arm64Image()), "a kernel for aarch64; this machine is x86_64"},
		{"riscv Image", flip(flip(append(make([]byte, 56), "RSC\x05...."...), 0, 'M'), 1, 'Z'), "a kernel for riscv64; this machine is x86_64"},
		{"arm64 ELF", elf(func(e *testELF) { e.machine = 183 }), "a kernel for aarch64; this machine is x86_64"},
		{"s390 ELF", flip(elf(func(e *testELF) { e.machine = 0x1600 }), 5, 3), "a big-endian ELF file; this machine is x86_64"},
		{"unknown ELF", elf(func(e *testELF) { e.machine = 4711 }), "an ELF file for machine number 4711; this machine is x86_64"},
		{"32-bit ELF", elf(func(e *testELF) { e.bits32, e.machine = true, em386 }), "an ELF file of 32 bits without a PVH entry"},
		{"object file", elf(func(e *testELF) { e.segments = nil }), "an ELF file without a segment to load"},
		{"entry in a hole", elf(func(e *testELF) { e.entry = 0x1011234 }), "entry point 0x1011234 lies in no segment"},
		{"overlap", elf(func(e *testELF) { e.segments[1].paddr = 0x1011233 }), "segments at 0x1000000 and 0x1011233 overlap"},
		{"too low", elf(func(e *testELF) { e.segments[0].paddr = 0xff000 }), "the kernel wants to lie at 0xff000; below 0x100000 is no place for it"},
		{"too high", elf(func(e *testELF) { e.segments[4].paddr = 4<<30 - 4096 }), "the kernel wants 0x42345 bytes at 0xfffff000; it must lie below 4 GiB"},
		{"too large", elf(func(e *testELF) { e.segments[4].bss = 1 << 30 }), "memory of 32 MiB is too small: the kernel needs 1025 MiB at address 19 MiB, so 1044 MiB at least"},
		{"ELF cut", elf(func(*testELF) {})[:0x220000], "truncated: a segment ends at byte 0x228000, the file at 0x220000"},
		{"ELF header cut", elf(func(*testELF) {})[:60], "truncated: 60 bytes are shorter than an ELF header"},
		{"ELF magic only", []byte(elfMagic), "truncated: 4 bytes are shorter than an ELF header"},
		{"bzImage of 32 bits", put16(hdrXloadflags, 0x7e), "a kernel of 32 bits (xloadflags 0x7e); one of 64 bits is needed"},
		{"old bzImage", put16(hdrVersion, 0x20a), "boot protocol 2.10; 2.12 or newer is needed"},
		{"bzImage cut", usual()[:4000], "truncated: the payload ends at byte "},
		{"bzImage header cut", usual()[:0x210], "truncated: 528 bytes are shorter than a bzImage's header"},
		{"no payload", testBzImage{payload: []byte("12345")}.build(), "a payload of 5 bytes holds no kernel"},
		{"bomb", testBzImage{payload: lz4, initSize: 0x100000}.build(), "the payload claims to unpack to "},
		{"low bzImage", testBzImage{payload: lz4, prefAddress: 0x80000}.build(), "the kernel wants to lie at 0x80000"},
		{"high bzImage", testBzImage{payload: lz4, prefAddress: 1 << 40}.build(), "the kernel wants 0x600000 bytes at 0x10000000000; it must lie below 4 GiB"},
		{"wrapping bzImage", testBzImage{payload: lz4, prefAddress: 1<<64 - 1}.build(), "the kernel wants 0x600000 bytes at 0xffffffffffffffff; it must lie below 4 GiB"},
		{"large bzImage", testBzImage{payload: lz4, initSize: 100 << 20}.build(), "memory of 32 MiB is too small: the kernel needs 100 MiB at address 16 MiB, so 116 MiB at least"},
		{"payload of text", testBzImage{payload: packLZ4(t, noise(1, 5000))}.build(), "unpacked image: not an ELF file: begins with "},
		{"image beside its place", testBzImage{payload: lz4, prefAddress: 0x800000}.build(), "unpacked image: it lies at [0x1000000, 0x13c2345), the header promises [0x800000, 0xe00000)"},
		{"segments out of order", testBzImage{payload: packLZ4(t, elf(func(e *testELF) {
			e.segments[0].off, e.segments[1].off = e.segments[1].off, e.segments[0].off
		}))}.build(), "the segments lie in another order in the file than in memory"},
	}
	for _, tt := range cases {
		f := file(t, "kernel", tt.kernel)
		e, err := Load(t.Context(), Config{Memory: newMemory(t, 32<<20), Kernel: f})
		if err == nil || !strings.HasPrefix(err.Error(), f.Name()+": "+tt.want) || e != (Entry{}) {
			t.Errorf("%s: Load = %+v, %v\nwant %q", tt.name, e, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", tt.name, err)
		}
	}
}

func TestLoadRefusesConfig(t *testing.T) {
	kernel := file(t, "vmlinuz", testBzImage{payload: packLZ4(t, kernelELF().build()), cmdlineSize: 100}.build())
	good := file(t, "initrd", []byte("070701"))
	dir := open(t, t.TempDir())
	null := open(t, os.DevNull)
	cases := []struct {
		name string
		cfg  Config
		want string
	}{
		{"kernel is a directory", Config{Kernel: dir}, dir.Name() + ": is a directory; name a file in it"},
		{"kernel is a device", Config{Kernel: null}, "/dev/null: is not a regular file"},
		{"initrd is a directory", Config{Kernel: kernel, Initrd: dir}, dir.Name() + ": is a directory"},
		{"initrd is empty", Config{Kernel: kernel, Initrd: file(t, "empty", nil)}, "empty; leave the initial RAM disk out instead"},
		{"command line too long", Config{Kernel: kernel, Initrd: good, Cmdline: strings.Repeat("x", 101)}, "command line of 101 bytes; this kernel takes at most 100"},
		{"command line with a zero", Config{Kernel: kernel, Cmdline: "a\x00b"}, "command line with a zero byte at 1"},
		{"reserved RAM", Config{Kernel: kernel, Reserved: []guestmem.Range{{Start: 32<<20 - 1, Size: 4096}}}, "reserved range [0x1ffffff, 0x2000fff) lies in RAM"},
		{"too many ranges", Config{Kernel: kernel, Reserved: make([]guestmem.Range, 126)}, "a memory map of 129 ranges; at most 128 fit"},
	}
	for _, tt := range cases {
		tt.cfg.Memory = newMemory(t, 32<<20)
		if _, err := Load(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Load = %v, want %q", tt.name, err, tt.want)
		}
	}
	longest := Config{Memory: newMemory(t, 32<<20), Kernel: kernel, Cmdline: strings.Repeat("x", 100), Reserved: make([]guestmem.Range, 125)}
	if _, err := Load(t.Context(), longest); err != nil {
		t.Errorf("longest command line and memory map: %v", err)
	}
	high := Config{Memory: newMemoryAt(t, guestmem.Range{Start: 1 << 30, Size: 32 << 20}), Kernel: kernel}
	if _, err := Load(t.Context(), high); err == nil || err.Error() != "guest memory does not start at 0" {
		t.Errorf("memory from 1 GiB: Load = %v", err)
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, raw := range [][]byte{kernelELF().build(), testBzImage{payload: packLZ4(t, kernelELF().build())}.build()} {
		if _, err := Load(ctx, Config{Memory: newMemory(t, 32<<20), Kernel: file(t, "kernel", raw)}); !errors.Is(err, context.Canceled) {
			t.Errorf("Load = %v, want %v", err, context.Canceled)
		}
	}
}

// TestLoadLeavesFilesAlone loads twice from the same descriptors.
func TestLoadLeavesFilesAlone(t *testing.T) {
	kernel := file(t, "vmlinuz", testBzImage{payload: packZSTD(t, kernelELF().build())}.build())
	initrd := file(t, "initrd", noise(1, 10_000))
	for range 2 {
		if _, err := Load(t.Context(), Config{Memory: newMemory(t, 32<<20), Kernel: kernel, Initrd: initrd}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []*os.File{kernel, initrd} {
		if at, err := f.Seek(0, 1); at != 0 || err != nil {
			t.Errorf("%s stands at %d, %v", f.Name(), at, err)
		}
	}
}

// TestMemoryMapFits guards the page that hvm_start_info shares with its lists.
func TestMemoryMapFits(t *testing.T) {
	elf := kernelELF()
	elf.pvh = 0x1000100
	mem := newMemory(t, 32<<20)
	reserved := make([]guestmem.Range, maxE820-3)
	for i := range reserved {
		reserved[i] = guestmem.Range{Start: 1<<32 + uint64(i)<<20, Size: 1 << 20}
	}
	e, err := Load(t.Context(), Config{Memory: mem, Kernel: file(t, "vmlinux", elf.build()), Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	info := slice(t, mem, e.RBX, 56)
	last := slice(t, mem, le.Uint64(info[40:])+24*127, 24)
	if le.Uint32(info[48:]) != 128 || le.Uint64(last) != reserved[124].Start {
		t.Errorf("%d ranges, the last one % x", le.Uint32(info[48:]), last)
	}
}
