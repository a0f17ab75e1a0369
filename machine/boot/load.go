package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"usui/machine/guestmem"
)

// Config says what to load and where.
type Config struct {
	Memory   *guestmem.Memory // zero, and not yet run by a processor
	Kernel   *os.File         // a regular file; Load leaves its offset alone and does not close it
	Initrd   *os.File         // initial RAM disk, likewise; nil for none
	Cmdline  string           // without a final zero
	RSDP     uint64           // guest-physical address of the ACPI root pointer; 0 for none
	Reserved []guestmem.Range // what the memory map marks as reserved beside RAM, such as the ECAM window
}

// Protocol says in which state a processor enters a kernel. In each, interrupts are off (RFLAGS = 2), all general
// registers that are not named are zero, GDTR is [Entry].GDT (its limit is GDT.Size - 1), IDTR is empty,
// and the segment registers hold what the descriptors in that table say:
//
//	selector  descriptor
//	CS        0x10: execute/read code, accessed, DPL 0, base 0, limit 4 GiB (G=1), L=1 D=0 for Linux64, L=0 D=1 for PVH32
//	DS ES FS GS SS  0x18: read/write data, accessed, DPL 0, base 0, limit 4 GiB (G=1), D=1
//	TR        0x20: busy 32-bit/64-bit TSS (type 11), base 0, limit 0x67
//	LDTR      0, unusable
type Protocol int

const (
	// Linux64 is the 64-bit entry of Linux (x86/boot.rst, "64-bit Boot Protocol"): long mode with CR3 = [Entry].CR3, which
	// maps the first 4 GiB to themselves. CR0 = PE|ET|NE|WP|PG, CR4 = PAE, EFER = LME|LMA, RSI = [Entry].RSI (boot_params).
	Linux64 Protocol = iota + 1
	// PVH32 is the entry of Xen's direct boot ABI (Xen docs/misc/pvh.pandoc): protected mode without paging. CR0 = PE|ET,
	// CR4 = 0, EFER = 0, RBX = [Entry].RBX (hvm_start_info).
	PVH32
)

func (p Protocol) String() string {
	switch p {
	case Linux64:
		return "64-bit Linux entry"
	case PVH32:
		return "PVH entry"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
}

// Entry is the state in which the boot processor enters the loaded kernel. See [Protocol] for the registers not
// listed here.
type Entry struct {
	Protocol Protocol
	RIP      uint64
	RSI      uint64         // Linux64: guest-physical address of boot_params
	RBX      uint64         // PVH32: guest-physical address of hvm_start_info
	CR3      uint64         // Linux64: guest-physical address of the top page table
	GDT      guestmem.Range // guest-physical place of the descriptor table
}

// Load reads the kernel and the initial RAM disk into guest memory and writes what the kernel reads first. Errors name
// the file, the value that is wrong, and what to do; after an error, guest memory holds no particular content. It
// returns an error that wraps ctx.Err() when ctx ends first, and one that wraps [errors.ErrUnsupported] for an image that is
// whole and for this architecture, but cannot be entered.
func Load(ctx context.Context, cfg Config) (Entry, error) {
	if cfg.Memory.Regions()[0].Start != 0 {
		return Entry{}, errors.New("guest memory does not start at 0")
	}
	var k *kernel
	err := withMapped(cfg.Kernel, func(image []byte) (err error) {
		k, err = loadKernel(ctx, cfg.Memory, image, machine)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	if err := checkCmdline(cfg.Cmdline, k); err != nil {
		return Entry{}, err
	}
	initrd, err := loadInitrd(ctx, cfg.Memory, cfg.Initrd, k)
	if err != nil {
		return Entry{}, err
	}
	if k.header != nil {
		for _, r := range firstWritten(cfg.Memory, k, initrd) {
			if err := cfg.Memory.Populate(r.Start, r.Size); err != nil {
				return Entry{}, err
			}
		}
	}
	return writeTables(cfg, k, initrd)
}

// kernel is what the later steps need to know of a loaded kernel.
type kernel struct {
	protocol    Protocol
	entry       uint64
	imageEnd    uint64 // first guest-physical byte after its segments
	end         uint64 // first guest-physical byte that is free after it: the kernel may want room of its own
	header      []byte // setup header from hdrStart on; nil where the image has none
	initrdMax   uint64 // highest address that a byte of the initial RAM disk may have
	cmdlineSize uint64 // bytes, without the final zero
}

// loadKernel recognises an image and puts its segments into memory.
func loadKernel(ctx context.Context, mem *guestmem.Memory, image []byte, arch string) (*kernel, error) {
	f, err := detect(image, arch)
	if err != nil {
		return nil, err
	}
	switch f {
	case formatBzImage:
		h, err := parseSetupHeader(image)
		if err != nil {
			return nil, err
		}
		e, err := loadBzImage(ctx, mem, h)
		if err != nil {
			return nil, err
		}
		return newKernel(e, Linux64, h)
	case formatELF:
		e, err := loadELF(ctx, mem, image)
		if err != nil {
			return nil, err
		}
		if e.hasPVH {
			return newKernel(e, PVH32, nil)
		}
		if !e.bits64 {
			return nil, errors.New("an ELF file of 32 bits without a PVH entry; use a kernel of 64 bits, or one with CONFIG_PVH")
		}
		return newKernel(e, Linux64, nil)
	default:
		h, err := parseARM64Header(image)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("an arm64 Image of %d MiB: %w: it cannot be booted yet", mib(h.imageSize), errors.ErrUnsupported)
	}
}

func newKernel(e *elfImage, p Protocol, h *setupHeader) (*kernel, error) {
	k := &kernel{
		protocol: p, entry: e.entry, imageEnd: e.end(), end: e.end(),
		initrdMax: defaultInitrdMax, cmdlineSize: defaultCmdlineSize,
	}
	if p == PVH32 {
		k.entry = e.pvh
	}
	if h != nil {
		k.header = h.raw
		k.end = h.prefAddress + h.initSize
		k.initrdMax, k.cmdlineSize = h.initrdMax, min(h.cmdlineSize, cmdlineLimit)
	}
	if !e.contains(k.entry) {
		return nil, fmt.Errorf("entry point %#x lies in no segment", k.entry)
	}
	return k, nil
}

func checkCmdline(line string, k *kernel) error {
	if n := uint64(len(line)); n > k.cmdlineSize {
		return fmt.Errorf("command line of %d bytes; this kernel takes at most %d", n, k.cmdlineSize)
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		return fmt.Errorf("command line with a zero byte at %d, where the kernel would stop reading", i)
	}
	return nil
}

// loadInitrd reads the initial RAM disk to the highest place that the kernel allows, where it is least in the way.
func loadInitrd(ctx context.Context, mem *guestmem.Memory, f *os.File, k *kernel) (guestmem.Range, error) {
	if f == nil {
		return guestmem.Range{}, nil
	}
	fileSize, err := regular(f)
	if err != nil {
		return guestmem.Range{}, err
	}
	if fileSize == 0 {
		return guestmem.Range{}, fmt.Errorf("%s: empty; leave the initial RAM disk out instead", f.Name())
	}
	size := uint64(fileSize)
	low := mem.Regions()[0]
	top := min(low.End(), k.initrdMax+1)
	if top < k.end || size > top-k.end || alignDown(top-size) < k.end {
		return guestmem.Range{}, fmt.Errorf("%s: initial RAM disk of %d MiB does not fit between the kernel's end at %d MiB and %d MiB (memory: %d MiB)",
			f.Name(), mib(size), mib(k.end), top>>20, mem.Size()>>20)
	}
	r := guestmem.Range{Start: alignDown(top - size), Size: size}
	dst, err := mem.Slice(r.Start, r.Size)
	if err != nil {
		return guestmem.Range{}, err
	}
	if err := mem.Populate(r.Start, r.Size); err != nil {
		return guestmem.Range{}, err
	}
	for off := 0; off < len(dst); off += initrdChunk {
		if err := ctx.Err(); err != nil {
			return guestmem.Range{}, err
		}
		part := dst[off:min(off+initrdChunk, len(dst))]
		if _, err := f.ReadAt(part, int64(off)); err != nil {
			return guestmem.Range{}, fmt.Errorf("read initial RAM disk: %w", err)
		}
	}
	return r, nil
}

// initrdChunk is how much is read between looks at the context.
const initrdChunk = 8 << 20

// pageSize is the alignment that Linux wants for an initial RAM disk.
const pageSize = 4096

func alignDown(n uint64) uint64 { return n &^ (pageSize - 1) }
