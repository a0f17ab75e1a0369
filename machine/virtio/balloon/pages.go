package balloon

import (
	"encoding/binary"
	"slices"
	"time"

	"usui/machine/guestmem"
	"usui/machine/virtio"
)

// block is how many page numbers are looked at together. Linux sends 256.
const block = 1024

// numbers reads the page numbers of a request (virtio 1.2 section 5.5.6).
type numbers struct {
	raw   [4 * block]byte
	pages [block]uint32
}

// next takes up to a block of numbers off the front of bufs. Bytes at the very end that are no whole number are dropped.
func (n *numbers) next(bufs [][]byte) (pages []uint32, rest [][]byte) {
	got := 0
	for got < len(n.raw) && len(bufs) > 0 {
		k := copy(n.raw[got:], bufs[0])
		got += k
		if bufs[0] = bufs[0][k:]; len(bufs[0]) == 0 {
			bufs = bufs[1:]
		}
	}
	pages = n.pages[:got/4]
	for i := range pages {
		pages[i] = binary.LittleEndian.Uint32(n.raw[4*i:])
	}
	return pages, bufs
}

// space is where the guest has memory.
type space struct {
	mem     *guestmem.Memory
	regions []guestmem.Range // in numbers of pages
}

func newSpace(mem *guestmem.Memory) space {
	s := space{mem: mem}
	for _, r := range mem.Regions() {
		s.regions = append(s.regions, guestmem.Range{Start: r.Start >> pageShift, Size: r.Size >> pageShift})
	}
	return s
}

// run is how many of the pages, which are sorted and differ, are neighbours from the first on and in one region; 0 if the first is in none.
func (s *space) run(pages []uint32) int {
	for _, r := range s.regions {
		if !r.Contains(uint64(pages[0]), 1) {
			continue
		}
		n := 1
		for n < len(pages) && pages[n] == pages[n-1]+1 && uint64(pages[n]) < r.End() {
			n++
		}
		return n
	}
	return 0
}

// serveInflate takes the pages that the driver puts into the balloon.
func (d *Balloon) serveInflate(q *virtio.Queue) {
	var n numbers
	d.serve(q, func(c *virtio.Chain) {
		for rest := c.Out; len(rest) > 0 && !d.stopping.Load(); {
			var pages []uint32
			pages, rest = n.next(rest)
			slices.Sort(pages)
			d.take(slices.Compact(pages))
		}
	})
}

// take releases pages, which are sorted and differ.
func (d *Balloon) take(pages []uint32) {
	for len(pages) > 0 && !d.stopping.Load() {
		n := d.space.run(pages)
		if n == 0 {
			d.counters.outside.Add(1)
			pages = pages[1:]
			continue
		}
		first, count := uint64(pages[0]), uint64(n)
		pages = pages[n:]
		d.counters.inflated.Add(count << pageShift)
		if d.pages.tracks() {
			d.pages.add(first, count, d)
		} else {
			d.release(first, count)
		}
	}
}

// release gives neighbouring pages of one region back to the host.
func (d *Balloon) release(first, n uint64) {
	start := time.Now()
	released, err := d.space.mem.Release(first<<pageShift, n<<pageShift)
	d.counters.time.Observe(time.Since(start))
	if err != nil {
		d.failed(err)
		return
	}
	if released > 0 {
		d.counters.releases.Add(1)
		d.counters.released.Add(released)
	}
}

// maxLogged bounds the lines about a host that takes nothing back.
const maxLogged = 10

func (d *Balloon) failed(err error) {
	d.counters.errors.Add(1)
	if n := d.logged.Load(); n < maxLogged && d.logged.CompareAndSwap(n, n+1) {
		d.log.Warn("virtio-balloon: memory was not given back", "error", err)
	}
}

// serveDeflate notes the pages that the driver takes out. They are there again when the guest touches them.
func (d *Balloon) serveDeflate(q *virtio.Queue) {
	var n numbers
	d.serve(q, func(c *virtio.Chain) {
		for rest := c.Out; len(rest) > 0 && !d.stopping.Load(); {
			var pages []uint32
			pages, rest = n.next(rest)
			d.pages.remove(pages)
			d.counters.deflated.Add(uint64(len(pages)) << pageShift)
		}
	})
}

// serveReports releases what the driver reports as free: the buffers themselves (virtio 1.2 section 5.5.6.7).
func (d *Balloon) serveReports(q *virtio.Queue) {
	d.serve(q, func(c *virtio.Chain) {
		d.mu.Lock()
		keep := d.poisoned && d.poison != 0 // they would come back as zeroes
		d.mu.Unlock()
		for _, b := range c.In {
			if d.stopping.Load() {
				return
			}
			first, n := d.space.whole(b)
			d.counters.reported.Add(n << pageShift)
			if !keep {
				d.release(first, n)
			}
		}
	})
}

// whole are the pages that lie wholly in a buffer of a chain.
func (s *space) whole(b []byte) (first, n uint64) {
	gpa, err := s.mem.Address(b)
	if err != nil {
		return 0, 0 // buffers of chains are not empty and lie in memory
	}
	first = (gpa + pageSize - 1) >> pageShift
	return first, max((gpa+uint64(len(b)))>>pageShift, first) - first
}
