package boot

import "usui/machine/guestmem"

// struct hvm_start_info, version 1, and what it points to (Xen public/arch-x86/hvm/start_info.h).
const (
	startInfoMagic  = 0x336ec578
	startInfoSize   = 56
	moduleSize      = 32
	memoryEntrySize = 24
	modulesAddr     = pvhAddr + startInfoSize
	memoryMapAddr   = modulesAddr + moduleSize
	maxMemoryMap    = (pageSize - startInfoSize - moduleSize) / memoryEntrySize // more than maxE820
)

// writeStartInfo writes hvm_start_info with the initial RAM disk as its one module.
func writeStartInfo(cfg Config, mm []memoryRange, initrd guestmem.Range) error {
	page, err := cfg.Memory.Slice(pvhAddr, pageSize)
	if err != nil {
		return err
	}
	le.PutUint32(page, startInfoMagic)
	le.PutUint32(page[4:], 1) // version: has a memory map
	if initrd.Size > 0 {
		le.PutUint32(page[12:], 1)
		le.PutUint64(page[16:], modulesAddr)
		module := page[modulesAddr-pvhAddr:]
		le.PutUint64(module, initrd.Start)
		le.PutUint64(module[8:], initrd.Size)
	}
	le.PutUint64(page[24:], cmdlineAddr)
	le.PutUint64(page[32:], cfg.RSDP)
	le.PutUint64(page[40:], memoryMapAddr)
	le.PutUint32(page[48:], uint32(len(mm)))
	for i, r := range mm {
		entry := page[memoryMapAddr-pvhAddr+i*memoryEntrySize:]
		le.PutUint64(entry, r.Start)
		le.PutUint64(entry[8:], r.Size)
		le.PutUint32(entry[16:], r.kind)
	}
	return nil
}

// Every memory map that fits into boot_params fits here too.
var _ [maxMemoryMap - maxE820]struct{}
