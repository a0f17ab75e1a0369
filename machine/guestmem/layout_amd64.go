package guestmem

// Layout says where RAM of size bytes lies: from 0 to 3 GiB, and what does not fit there from 4 GiB on. The hole in between
// is where a PC has what 32-bit addresses must reach: interrupt controllers, PCI configuration and 32-bit BARs.
func Layout(size uint64) []Range { return layout(size, 0, 3*gib, 4*gib) }
