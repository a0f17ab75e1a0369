package boot

import "usui/machine/guestmem"

// Segment descriptors (Intel SDM volume 3, section 3.4.5): base 0, limit 4 GiB, accessed.
const (
	descCode64 = 0x00af9b000000ffff
	descCode32 = 0x00cf9b000000ffff
	descData   = 0x00cf93000000ffff
	descTSS    = 0x00008b0000000067 // busy, 0x68 bytes at 0
)

// writeGDT writes the descriptor table: selectors 0x10 (__BOOT_CS), 0x18 (__BOOT_DS), 0x20 (two slots wide in long mode).
func writeGDT(mem *guestmem.Memory, p Protocol) (guestmem.Range, error) {
	code := uint64(descCode64)
	if p == PVH32 {
		code = descCode32
	}
	table := [...]uint64{0, 0, code, descData, descTSS, 0}
	r := guestmem.Range{Start: gdtAddr, Size: 8 * uint64(len(table))}
	b, err := mem.Slice(r.Start, r.Size)
	if err != nil {
		return r, err
	}
	for i, d := range table {
		le.PutUint64(b[8*i:], d)
	}
	return r, nil
}

// Bits of page table entries (Intel SDM volume 3, section 4.5.4).
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteLarge   = 1 << 7
	pteEntries = 512
	largePage  = 2 << 20
	identityGB = 4
)

// writePageTables maps the first 4 GiB to themselves: one top page, one of pointers, and one of 2 MiB pages a GiB.
func writePageTables(mem *guestmem.Memory) error {
	b, err := mem.Slice(pageTableAddr, (2+identityGB)*pageSize)
	if err != nil {
		return err
	}
	le.PutUint64(b, pageTableAddr+pageSize|ptePresent|pteWrite)
	for i := range identityGB {
		le.PutUint64(b[pageSize+8*i:], uint64(pageTableAddr+(2+i)*pageSize)|ptePresent|pteWrite)
	}
	large := b[2*pageSize:]
	for i := range identityGB * pteEntries {
		le.PutUint64(large[8*i:], uint64(i)*largePage|ptePresent|pteWrite|pteLarge)
	}
	return nil
}
