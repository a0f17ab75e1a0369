package boot

import (
	"fmt"

	"usui/machine/guestmem"
)

// Places of the boot structures, all in conventional memory. The kernel copies or replaces them before it gives
// that memory away.
const (
	gdtAddr       = 0x1000
	pvhAddr       = 0x2000 // hvm_start_info, the memory map, the module list: one page
	zeroPageAddr  = 0x7000
	pageTableAddr = 0x9000 // six pages
	cmdlineAddr   = 0x20000
	cmdlineLimit  = 0xfff0 // the most a header may ask for, below the next 64 KiB
	lowRAMEnd     = 0xa0000
)

// Fields of boot_params that the setup header does not hold (x86/zero-page.rst).
const (
	bpACPIRSDPAddr    = 0x070
	bpExtRamdiskImage = 0x0c0
	bpExtRamdiskSize  = 0x0c4
	bpExtCmdLinePtr   = 0x0c8
	bpE820Entries     = 0x1e8
	bpE820Table       = 0x2d0
	e820EntrySize     = 20
	maxE820           = 128 // E820_MAX_ENTRIES_ZEROPAGE
)

// Types of memory, the same numbers in E820 and in PVH's memory map.
const (
	memoryRAM      = 1
	memoryReserved = 2
)

// loaderUndefined is the type_of_loader of a loader without an assigned number.
const loaderUndefined = 0xff

// memoryRange is one line of the memory map.
type memoryRange struct {
	guestmem.Range
	kind uint32
}

// memoryMap is what the kernel is told of memory: RAM, less the BIOS area below 1 MiB, and what is reserved beside it.
func memoryMap(mem *guestmem.Memory, reserved []guestmem.Range) ([]memoryRange, error) {
	var m []memoryRange
	for _, r := range mem.Regions() {
		if r.Start == 0 && r.Size > imageFloor {
			m = append(m,
				memoryRange{guestmem.Range{Start: 0, Size: lowRAMEnd}, memoryRAM},
				memoryRange{guestmem.Range{Start: lowRAMEnd, Size: imageFloor - lowRAMEnd}, memoryReserved},
				memoryRange{guestmem.Range{Start: imageFloor, Size: r.Size - imageFloor}, memoryRAM})
			continue
		}
		m = append(m, memoryRange{r.Range, memoryRAM})
	}
	for _, r := range reserved {
		for _, ram := range mem.Regions() {
			if r.Start < ram.End() && ram.Start < r.End() {
				return nil, fmt.Errorf("reserved range [%#x, %#x) lies in RAM", r.Start, r.End())
			}
		}
		m = append(m, memoryRange{r, memoryReserved})
	}
	if len(m) > maxE820 {
		return nil, fmt.Errorf("a memory map of %d ranges; at most %d fit", len(m), maxE820)
	}
	return m, nil
}

// writeTables writes the command line and what the entry's protocol wants beside it.
func writeTables(cfg Config, k *kernel, initrd guestmem.Range) (Entry, error) {
	mm, err := memoryMap(cfg.Memory, cfg.Reserved)
	if err != nil {
		return Entry{}, err
	}
	cmdline, err := cfg.Memory.Slice(cmdlineAddr, uint64(len(cfg.Cmdline))+1)
	if err != nil {
		return Entry{}, err
	}
	copy(cmdline, cfg.Cmdline)
	gdt, err := writeGDT(cfg.Memory, k.protocol)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Protocol: k.protocol, RIP: k.entry, GDT: gdt}
	if k.protocol == PVH32 {
		e.RBX = pvhAddr
		return e, writeStartInfo(cfg, mm, initrd)
	}
	e.RSI, e.CR3 = zeroPageAddr, pageTableAddr
	if err := writePageTables(cfg.Memory); err != nil {
		return Entry{}, err
	}
	return e, writeZeroPage(cfg, k, mm, initrd)
}

// writeZeroPage writes struct boot_params.
func writeZeroPage(cfg Config, k *kernel, mm []memoryRange, initrd guestmem.Range) error {
	zp, err := cfg.Memory.Slice(zeroPageAddr, pageSize)
	if err != nil {
		return err
	}
	if k.header != nil {
		copy(zp[hdrStart:hdrLimit], k.header)
	} else {
		le.PutUint16(zp[hdrBootFlag:], bootFlag)
		copy(zp[hdrMagic:], hdrS)
		le.PutUint16(zp[hdrVersion:], minVersion)
		le.PutUint32(zp[hdrInitrdAddrMax:], defaultInitrdMax)
		le.PutUint32(zp[hdrCmdlineSize:], defaultCmdlineSize)
	}
	zp[hdrTypeOfLoader] = loaderUndefined
	zp[hdrLoadflags] |= loadedHigh
	le.PutUint64(zp[hdrSetupData:], 0) // a list in memory, of which there is none

	putSplit(zp, hdrCmdLinePtr, bpExtCmdLinePtr, cmdlineAddr)
	putSplit(zp, hdrRamdiskImage, bpExtRamdiskImage, initrd.Start)
	putSplit(zp, hdrRamdiskSize, bpExtRamdiskSize, initrd.Size)
	le.PutUint64(zp[bpACPIRSDPAddr:], cfg.RSDP)

	zp[bpE820Entries] = byte(len(mm))
	for i, r := range mm {
		entry := zp[bpE820Table+i*e820EntrySize:]
		le.PutUint64(entry, r.Start)
		le.PutUint64(entry[8:], r.Size)
		le.PutUint32(entry[16:], r.kind)
	}
	return nil
}

// putSplit stores a value whose two halves boot_params keeps apart.
func putSplit(zp []byte, low, high int, v uint64) {
	le.PutUint32(zp[low:], uint32(v))
	le.PutUint32(zp[high:], uint32(v>>32))
}
