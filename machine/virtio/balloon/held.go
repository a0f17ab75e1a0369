package balloon

import (
	"math"
	"sync"

	"usui/machine/guestmem"
)

// held knows which pages are in the balloon, where the host's pages are larger: one of those can be released when all its parts are there.
type held struct {
	per uint64 // pages of the balloon in one of the host; 1: nothing is tracked. Set while no queue is served.

	mu   sync.Mutex // a page must not be taken out while it is on its way to the host
	bits []uint64   // guarded by mu; one for each page, by number
}

// reset forgets all pages. exact says that the driver tells of each page before it uses it again: without that nothing can be
// tracked, and only pages of the host that come at once are released.
func (h *held) reset(mem *guestmem.Memory, exact bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.per, h.bits = mem.PageSize()>>pageShift, nil
	if h.per == 1 || !exact {
		h.per = 1
		return
	}
	regions := mem.Regions()
	h.bits = make([]uint64, (regions[len(regions)-1].End()>>pageShift+63)/64)
}

func (h *held) tracks() bool { return h.per > 1 }

// releaser takes runs of pages.
type releaser interface{ release(first, n uint64) }

// add puts neighbouring pages, which lie in memory, into the balloon and releases the host's pages that are in it as a whole now.
func (h *held) add(first, n uint64, to releaser) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := first; p < first+n; p++ {
		h.bits[p/64] |= 1 << (p % 64)
	}
	start, end := first/h.per, (first+n-1)/h.per+1
	for start < end {
		run := start
		for run < end && h.whole(run) {
			run++
		}
		if run > start {
			to.release(start*h.per, (run-start)*h.per)
		}
		start = run + 1
	}
}

// whole says whether all parts of a page of the host are in the balloon. The last one may reach beyond memory; then they never are.
func (h *held) whole(page uint64) bool {
	first := page * h.per
	if (first+h.per+63)/64 > uint64(len(h.bits)) {
		return false
	}
	if h.per < 64 {
		mask := uint64(1)<<h.per - 1
		return h.bits[first/64]>>(first%64)&mask == mask
	}
	for _, word := range h.bits[first/64:][:h.per/64] {
		if word != math.MaxUint64 {
			return false
		}
	}
	return true
}

// remove takes pages out of the balloon, wherever they lie.
func (h *held) remove(pages []uint32) {
	if !h.tracks() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range pages {
		if w := int(p / 64); w < len(h.bits) {
			h.bits[w] &^= 1 << (p % 64)
		}
	}
}
