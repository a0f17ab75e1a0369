package bench

import (
	"fmt"
	"math/bits"

	"usui/machine/guestmem"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

const (
	pageBytes = 4 << 10
	hugeBytes = 2 << 20
	extraSlot = 1 // tinyguest's own memory has slot 0

	touched = 1024 // pages of a batch
	huge    = 16   // huge pages of a batch
)

// pageCases are first accesses to pages. The host has the memory already: what is timed is the guest's mapping of it.
func pageCases() []Case {
	const group = "pages"
	return []Case{
		{"touch-4k", group, "first store to a page of 4 KiB that the host has", touch(touched, pageBytes, recipe{
			misfit: "the host's pages are not of 4 KiB",
			extra:  faulting(func(r *rig) error { return r.addTouched((touched + 1) * pageBytes) }),
			op:     store,
		})},
		{"touch-2m", group, "first store to a page of 2 MiB that the host has", touch(huge, hugeBytes, recipe{
			misfit: "the host gave no huge pages",
			extra:  faulting(func(r *rig) error { return r.addHuge((huge + 1) * hugeBytes) }),
			op: func(c code) {
				c.Store(8, walkReg, pageBytes, tinyguest.RAX) // a second exit if the page is not huge
				store(c)
			},
		})},
		{"dirty-log-page", group, "first store to a page since the dirty log was read", recipe{
			extra:        addLogged,
			registers:    func(r *kvm.Regs) { r.R14 = extraAddr - pageBytes },
			reset:        func(r *rig) error { return r.guest.VM.DirtyLog(extraSlot, r.dirty) },
			verify:       verifyLogged,
			around:       func(c code) { c.Add(walkReg, pageBytes) },
			op:           store,
			instructions: 1, aroundCount: 1, exits: span{0, 1}, limit: touched, whole: true,
		}},
	}
}

func store(c code) { c.Store(8, walkReg, 0, tinyguest.RAX) }

// touch is one access to each of some pages that the guest has not mapped yet. One page more is read by the loops without
// the operation too, so that what leads to all of them is mapped before.
func touch(pages int, size int32, rec recipe) recipe {
	rec.registers = func(r *kvm.Regs) {
		r.R14 = extraAddr - uint64(size)
		r.R13 = extraAddr + uint64(pages)*uint64(size)
	}
	rec.around = func(c code) {
		c.Load(8, tinyguest.R8, deviceReg, 0)
		c.Add(walkReg, size)
	}
	rec.reset, rec.exits, rec.limit, rec.whole = (*rig).remap, exactly(1), pages, true
	return rec
}

// faulting is recipe.extra of operations that are page faults.
func faulting(extra func(*rig) error) func(*rig) error {
	return func(r *rig) error {
		if r.machine.software {
			return na("this KVM interprets the store, so the guest's mapping is not asked")
		}
		return extra(r)
	}
}

// addMemory gives the guest memory at extraAddr. The kernel can only map huge pages where the two addresses agree below
// their size, so the slot begins at the first such place.
func (r *rig) addMemory(size uint64, flags uint32) error {
	const start = 1 << 30
	mem, err := guestmem.New([]guestmem.Range{{Start: start, Size: size + hugeBytes}})
	if err != nil {
		return err
	}
	region := mem.Regions()[0]
	skip := -uint64(region.HostAddr) % hugeBytes
	r.extraSlot = memorySlot{mem: mem, begin: start + skip, size: size, host: region.HostAddr + uintptr(skip), flags: flags}
	// The machine is closed by then: rigs close in reverse, but KVM needs the memory until its end.
	r.guestMemory = append(r.guestMemory, mem)
	if err := r.mapExtra(); err != nil {
		return refused(err)
	}
	return nil
}

// memorySlot is the guest's memory at extraAddr.
type memorySlot struct {
	mem   *guestmem.Memory
	begin uint64 // in mem
	size  uint64
	host  uintptr
	flags uint32
}

func (r *rig) mapExtra() error {
	s := r.extraSlot
	return r.guest.VM.SetMemory(extraSlot, s.flags, extraAddr, s.size, s.host)
}

// remap takes the guest's mappings of the memory away. With a slot KVM forgets all mappings, so loops without the operation then
// fault for code, tables and time stamps again.
func (r *rig) remap() error {
	if err := r.guest.VM.SetMemory(extraSlot, 0, extraAddr, 0, r.extraSlot.host); err != nil {
		return err
	}
	if err := r.mapExtra(); err != nil {
		return err
	}
	_, err := r.run(r.emptyAt, 1)
	if err == nil && r.stampedAt != 0 {
		_, err = r.run(r.stampedAt, r.limit)
	}
	return err
}

// addTouched adds memory in small pages, all there.
func (r *rig) addTouched(size uint64) error {
	if err := r.addMemory(size, 0); err != nil {
		return err
	}
	p, err := r.extraSlot.mem.Slice(r.extraSlot.begin, size)
	if err != nil {
		return err
	}
	for at := uint64(0); at < size; at += pageBytes {
		p[at] = 1
	}
	return nil
}

// addHuge adds memory in huge pages, if the host gives them.
func (r *rig) addHuge(size uint64) error {
	if err := r.addMemory(size, 0); err != nil {
		return err
	}
	return r.extraSlot.mem.Populate(r.extraSlot.begin, size)
}

// addLogged adds memory whose writes are logged, all of it written once.
func addLogged(r *rig) error {
	if err := r.addMemory(touched*pageBytes, kvm.MemLogDirtyPages); err != nil {
		return err
	}
	r.dirty = make([]uint64, kvm.DirtyWords(touched*pageBytes))
	return nil
}

// verifyLogged wants all pages of a batch in the dirty log.
func verifyLogged(r *rig, n int) error {
	if err := r.guest.VM.DirtyLog(extraSlot, r.dirty); err != nil {
		return err
	}
	pages := 0
	for _, w := range r.dirty {
		pages += bits.OnesCount64(w)
	}
	if pages != n {
		return fmt.Errorf("%d pages written, but %d are in the dirty log", n, pages)
	}
	return nil
}
