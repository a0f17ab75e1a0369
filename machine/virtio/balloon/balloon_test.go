package balloon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/guestmem"
	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

// Queues, as the driver in these tests numbers them.
const (
	inflate = iota
	deflate
	statistics
	hints
	reports
)

const (
	ram   = 128 << 20 // of virtiotest
	spare = 64 << 20  // from here on these tests use no memory otherwise
	all   = FeatureMustTellHost | FeatureStats | FeatureFreePageHint | FeaturePagePoison | FeatureReporting
)

func newBalloon(t testing.TB, c Config) *Balloon {
	t.Helper()
	if c.Memory == 0 {
		c.Memory = ram
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t testing.TB, d *Balloon, features uint64) *virtiotest.Driver {
	t.Helper()
	return virtiotest.Start(t, d, virtiotest.Config{Features: features | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc})
}

// filled fills guest memory from gpa on and returns it.
func filled(t testing.TB, g *virtiotest.Driver, gpa, n uint64) []byte {
	t.Helper()
	b, err := g.Memory.Slice(gpa, n)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 0xaa
	for i := 1; i < len(b); i *= 2 {
		copy(b[i:], b[:i])
	}
	return b
}

// resident is how many of the n bytes at gpa take memory of the host. Memory has one region.
func resident(t testing.TB, mem *guestmem.Memory, gpa, n uint64) (sum uint64) {
	t.Helper()
	fd, at, end := int(mem.File().Fd()), int64(gpa), int64(gpa+n)
	for at < end {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || data >= end {
			return sum
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			t.Fatal(err)
		}
		sum += uint64(min(at, end) - data)
	}
	return sum
}

// encode is a request's buffer with numbers of pages.
func encode(pages ...uint32) []byte {
	var b []byte
	for _, p := range pages {
		b = binary.LittleEndian.AppendUint32(b, p)
	}
	return b
}

// upward and downward are n numbers of pages from the one at gpa on.
func upward(gpa uint64, n int) (pages []uint32) {
	for i := range n {
		pages = append(pages, uint32(gpa>>pageShift)+uint32(i))
	}
	return pages
}

func downward(gpa uint64, n int) []uint32 {
	pages := upward(gpa, n)
	slices.Reverse(pages)
	return pages
}

// send makes a request of the buffers and waits for the answer.
func send(t testing.TB, g *virtiotest.Driver, queue int, bufs ...virtiotest.Buffer) {
	t.Helper()
	g.Queues[queue].Add(bufs...)
	if _, n, ok := g.Queues[queue].Wait(); !ok || n != 0 {
		t.Fatalf("queue %d: %d bytes written, ok %v: %v", queue, n, ok, g.Broken())
	}
}

func TestInflatedPagesGoBackToTheHost(t *testing.T) {
	for _, populated := range []bool{false, true} {
		d := newBalloon(t, Config{})
		g := start(t, d, all)
		if populated { // in huge pages of the host, where it has them
			if err := g.Memory.Populate(spare, 16<<20); err != nil {
				t.Fatal(err)
			}
		}
		b := filled(t, g, spare, 16<<20)
		const requests = 16
		for i := range uint64(requests) { // as Linux does: 256 pages each
			if got := resident(t, g.Memory, spare, 16<<20); got != 16<<20-i<<20 {
				t.Errorf("populated %t: %d bytes on the host after %d MiB, want the others", populated, got, i)
			}
			send(t, g, inflate, g.Out(encode(downward(spare+i<<20, 256)...)))
		}
		if got := resident(t, g.Memory, spare, 16<<20); got != 0 {
			t.Errorf("populated %t: %d bytes on the host after all, want none", populated, got)
		}
		s := d.Stats()
		if s.InflatedBytes != 16<<20 || s.ReleasedBytes != 16<<20 || s.Releases != requests || s.Errors != 0 || s.Outside != 0 {
			t.Errorf("populated %t: Stats = %+v, want 16 MiB in %d calls", populated, s, requests)
		}
		if !bytes.Equal(b, make([]byte, len(b))) { // and each is a page again
			t.Errorf("populated %t: a page in the balloon holds what it held", populated)
		}
		send(t, g, deflate, g.Out(encode(upward(spare, 512)...)))
		if got := d.Stats().DeflatedBytes; got != 2<<20 {
			t.Errorf("%d bytes deflated, want 2 MiB", got)
		}
		if got := resident(t, g.Memory, spare, 16<<20); got != 16<<20 {
			t.Errorf("populated %t: %d bytes on the host after all pages were read, want all", populated, got)
		}
	}
}

// TestInflateReleasesWhatWasNamed names pages in every order, and looks at what is gone.
func TestInflateReleasesWhatWasNamed(t *testing.T) {
	first := uint32(spare >> pageShift)
	shuffled := upward(spare, 64)
	rand.New(rand.NewPCG(1, 2)).Shuffle(64, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, tt := range []struct {
		name     string
		request  []byte
		releases uint64
		released int // pages from the first on
		outside  uint64
	}{
		{"one", encode(first), 1, 1, 0},
		{"up", encode(upward(spare, 64)...), 1, 64, 0},
		{"down", encode(downward(spare, 64)...), 1, 64, 0},
		{"any order", encode(shuffled...), 1, 64, 0},
		{"twice", encode(append(upward(spare, 64), upward(spare, 64)...)...), 1, 64, 0},
		{"more than a block", encode(upward(spare, block+64)...), 2, block + 64, 0},
		{"an odd end", append(encode(first, first+1), 3, 4, 5), 1, 2, 0},
		{"no whole number", []byte{1, 2, 3}, 0, 0, 0},
		{"outside", encode(first, ram>>pageShift, math.MaxUint32, 1<<31), 1, 1, 3},
		{"the last page and beyond", encode(ram>>pageShift-1, ram>>pageShift), 1, 0, 1},
	} {
		d := newBalloon(t, Config{})
		g := start(t, d, all)
		b := filled(t, g, spare, 8<<20)
		send(t, g, inflate, g.Out(tt.request))
		s := d.Stats()
		if s.Releases != tt.releases || s.Outside != tt.outside || s.Errors != 0 {
			t.Errorf("%s: Stats = %+v, want %d releases and %d pages outside", tt.name, s, tt.releases, tt.outside)
		}
		want := bytes.Repeat([]byte{0xaa}, len(b))
		clear(want[:tt.released*pageSize])
		if !bytes.Equal(b, want) {
			t.Errorf("%s: other pages are gone than the first %d", tt.name, tt.released)
		}
	}
}

// TestNumbersAcrossBuffers cuts a request into buffers of odd sizes.
func TestNumbersAcrossBuffers(t *testing.T) {
	d := newBalloon(t, Config{})
	g := start(t, d, all)
	b := filled(t, g, spare, 1<<20)
	request := encode(upward(spare, 256)...)
	var bufs []virtiotest.Buffer
	for n := 1; len(request) > 0; n++ {
		k := min(n, len(request))
		bufs = append(bufs, g.Out(request[:k]))
		request = request[k:]
	}
	g.Queues[inflate].PutIndirect(append(bufs, g.In(7))...) // one to write is of no use, and no harm
	g.Queues[inflate].Publish()
	if _, _, ok := g.Queues[inflate].Wait(); !ok {
		t.Fatal(g.Broken())
	}
	if s := d.Stats(); s.Releases != 1 || s.Release.Count() != 1 || !bytes.Equal(b, make([]byte, 1<<20)) {
		t.Errorf("Stats = %+v, want the whole MiB in one release, timed", s)
	}
}

func TestReportedPagesGoBackToTheHost(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features uint64
		poison   uint32
		released uint64
	}{
		{"plain", all &^ FeaturePagePoison, 0, 4<<20 - 2*pageSize},
		{"zeroed pages", all, 0, 4<<20 - 2*pageSize},
		{"poisoned pages", all, 0xaaaaaaaa, 0},
		{"poison of a driver that has none", all &^ FeaturePagePoison, 0xaaaaaaaa, 4<<20 - 2*pageSize},
	} {
		d := newBalloon(t, Config{Reporting: true})
		g := start(t, d, tt.features)
		d.WriteConfig(binary.LittleEndian.AppendUint32(nil, tt.poison), 12)
		b := filled(t, g, spare, 8<<20)
		send(t, g, reports,
			virtiotest.Buffer{GPA: spare, Len: 2 << 20, Write: true},
			virtiotest.Buffer{GPA: spare + 4<<20 + 1, Len: 2<<20 - 2, Write: true}, // parts of pages at both ends
			virtiotest.Buffer{GPA: spare + 7<<20 + 1, Len: 2*pageSize - 2, Write: true})
		if s := d.Stats(); s.ReleasedBytes != tt.released || s.ReportedBytes != 4<<20-2*pageSize {
			t.Errorf("%s: Stats = %+v, want %d bytes released", tt.name, s, tt.released)
		}
		if fell := 8<<20 - resident(t, g.Memory, spare, 8<<20); fell != tt.released {
			t.Errorf("%s: the memory file gave back %d bytes, want %d", tt.name, fell, tt.released)
		}
		if tt.released > 0 {
			want := bytes.Repeat([]byte{0xaa}, len(b))
			clear(want[:2<<20])
			clear(want[4<<20+pageSize : 6<<20-pageSize])
			if !bytes.Equal(b, want) {
				t.Errorf("%s: other pages are gone than the reported ones", tt.name)
			}
		}
		g.Stop() // a reset takes the poison back
		if p := make([]byte, 4); true {
			if d.ReadConfig(p, 12); !bytes.Equal(p, make([]byte, 4)) {
				t.Errorf("%s: poison % x after a reset, want none", tt.name, p)
			}
		}
	}
}

func TestTarget(t *testing.T) {
	d := newBalloon(t, Config{Target: 5*pageSize + 17})
	if got := d.Target(); got != 5*pageSize {
		t.Errorf("Target() = %d, want 5 pages", got)
	}
	changes := 0
	d.OnChange(func() { changes++ })
	if err := d.SetTarget(ram); err != nil || d.Target() != ram || changes != 1 {
		t.Errorf("SetTarget(all) = %v, Target() = %d, %d changes", err, d.Target(), changes)
	}
	if err := d.SetTarget(ram + 1); err == nil || d.Target() != ram || changes != 1 {
		t.Errorf("SetTarget(more than all) = %v, Target() = %d, %d changes; want an error and no change", err, d.Target(), changes)
	}
	var p [4]byte
	if d.ReadConfig(p[:], 0); binary.LittleEndian.Uint32(p[:]) != ram>>pageShift {
		t.Errorf("num_pages = % x, want %d", p, ram>>pageShift)
	}
	if d, err := New(Config{Memory: 1 << 50, Target: 1 << 50}); err != nil || d.Target() != math.MaxUint32<<pageShift {
		t.Errorf("a target of 1 PiB: %v, want the most that can be said", err)
	}
	for _, c := range []Config{{Memory: 1 << 20, Target: 1<<20 + 1}, {StatsEvery: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) succeeds, want an error", c)
		}
	}
}

func TestConfiguration(t *testing.T) {
	d := newBalloon(t, Config{Target: 0x1234 << pageShift})
	d.WriteConfig([]byte{0xff, 0xff, 0xff, 0xff, 0x78, 0x56, 0x34, 0x12}, 0) // the first four are the device's
	d.WriteConfig([]byte{0xff, 0xff, 0xff, 0xff}, 8)                         // likewise
	d.WriteConfig([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 12)
	for _, off := range []int{-1, -16, 16, 17, math.MaxInt} {
		d.WriteConfig([]byte{0xee}, off)
	}
	want := []byte{0x34, 0x12, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0}
	got := bytes.Repeat([]byte{0xcc}, len(want))
	if d.ReadConfig(got, 0); !bytes.Equal(got, want) {
		t.Errorf("configuration = % x, want % x", got, want)
	}
	for off := range want {
		one := []byte{0xcc}
		if d.ReadConfig(one, off); one[0] != want[off] {
			t.Errorf("byte %d = %#x, want %#x", off, one[0], want[off])
		}
	}
	if got := d.Actual(); got != 0x12345678<<pageShift {
		t.Errorf("Actual() = %#x, want %#x", got, 0x12345678<<pageShift)
	}
}

func TestDescription(t *testing.T) {
	d := newBalloon(t, Config{})
	if d.ID() != 5 || len(d.QueueSizes()) != queueCount || d.QueueSizes()[reports] < 32 {
		t.Errorf("ID %d, queues %v", d.ID(), d.QueueSizes())
	}
	if got, want := d.Features(), uint64(all&^FeatureReporting); got != want {
		t.Errorf("Features() = %#x, want %#x", got, want)
	}
	d = newBalloon(t, Config{Reporting: true, DeflateOnOOM: true})
	if got, want := d.Features(), uint64(all|FeatureDeflateOnOOM); got != want {
		t.Errorf("Features() = %#x, want %#x", got, want)
	}
	if err := d.Start(0, make([]*virtio.Queue, 2)); err == nil {
		t.Error("Start with 2 queues succeeds")
	}
	if err := d.Start(all, make([]*virtio.Queue, queueCount)); err != nil {
		t.Errorf("Start without a queue = %v", err)
	}
	d.Stop()
	d.Stop()
}

// TestQueuesOfBothNumberings has drivers that number the queues as the specification does, and as Linux does.
func TestQueuesOfBothNumberings(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features uint64
		missing  []int
		reports  int // the queue's number
	}{
		{"all", all, nil, 4},
		{"the specification's, reporting alone", FeatureReporting, []int{2, 3}, 4},
		{"Linux's, reporting alone", FeatureReporting, []int{3, 4}, 2},
		{"the specification's, no hints", FeatureReporting | FeatureStats, []int{3}, 4},
		{"Linux's, no hints", FeatureReporting | FeatureStats, []int{4}, 3},
	} {
		d := newBalloon(t, Config{Reporting: true})
		g := virtiotest.Start(t, d, virtiotest.Config{Features: tt.features, Missing: tt.missing})
		send(t, g, tt.reports, virtiotest.Buffer{GPA: spare, Len: 2 << 20, Write: true})
		if got := d.Stats().ReportedBytes; got != 2<<20 {
			t.Errorf("%s: %d bytes reported, want 2 MiB", tt.name, got)
		}
		g.Stop()
	}
}

// TestStopLeavesALongRequest sends a request that would take the device minutes.
func TestStopLeavesALongRequest(t *testing.T) {
	for range 5 {
		d := newBalloon(t, Config{})
		g := start(t, d, all)
		request, b := g.Alloc(32 << 20)
		for i := 0; i < len(b); i += 4 { // every other page of the upper half: nothing to release at one go
			binary.LittleEndian.PutUint32(b[i:], spare>>pageShift+uint32(i/2)%(spare>>pageShift))
		}
		g.Queues[inflate].Add(virtiotest.Buffer{GPA: request, Len: uint32(len(b))})
		for d.Stats().Releases == 0 {
			runtime.Gosched()
		}
		d.Stop()
		s := d.Stats()
		if s.InflatedBytes>>pageShift >= uint64(len(b)/4) {
			t.Errorf("%d pages were handled before Stop returned, of %d", s.InflatedBytes>>pageShift, len(b)/4)
		}
		mine := filled(t, g, spare, 1<<20)
		g.Stop()
		if d.Stats() != s || !bytes.Equal(mine, bytes.Repeat([]byte{0xaa}, len(mine))) {
			t.Error("memory was released after Stop")
		}
	}
}

func TestABrokenQueueEndsTheDeviceAlone(t *testing.T) {
	d := newBalloon(t, Config{})
	g := start(t, d, all)
	for q := range queueCount {
		g.Queues[q].SetAvailableIndex(0x8000)
		for len(g.Broken()) == 0 {
			runtime.Gosched()
		}
		g.Stop()
		g = start(t, d, all)
	}
	send(t, g, inflate, g.Out(encode(1)))
}

// TestSteadyStateAllocatesNothing counts allocations of a request on each queue.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	d := newBalloon(t, Config{})
	g := start(t, d, all)
	again := func(queue int, bufs ...virtiotest.Buffer) {
		q := g.Queues[queue]
		q.Add(bufs...)
		head, _, ok := q.Wait()
		if !ok {
			t.Fatal(g.Broken())
		}
		n := testing.AllocsPerRun(100, func() {
			q.Again(head, len(bufs))
			if head, _, ok = q.Wait(); !ok {
				t.Fatal(g.Broken())
			}
		})
		if n != 0 {
			t.Errorf("queue %d: %v allocations for a request, want none", queue, n)
		}
	}
	request := encode(downward(spare, 256)...)
	again(inflate, g.Out(request))
	again(deflate, g.Out(request))
	again(hints, virtiotest.Buffer{GPA: spare, Len: 2 << 20, Write: true})
	again(reports, virtiotest.Buffer{GPA: spare, Len: 2 << 20, Write: true})
}

// TestHammer has everybody at work at once while the driver resets the device.
func TestHammer(t *testing.T) {
	d := newBalloon(t, Config{Reporting: true, StatsEvery: 1})
	d.OnChange(func() { d.ReadConfig(make([]byte, 16), 0) })
	g := start(t, d, all)
	over := make(chan struct{})
	var others sync.WaitGroup
	for i := range 3 {
		others.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-over:
					return
				default:
				}
				switch i {
				case 0:
					if err := d.SetTarget(n << pageShift % ram); err != nil {
						t.Error(err)
					}
				case 1:
					if _, err := d.GuestStats(closed); err == nil {
						continue
					}
				case 2:
					if err := d.Hint(closed, nobody{}); err == nil {
						t.Error("Hint of nobody succeeds")
					}
					d.ReturnHinted()
				}
				d.Stats()
			}
		})
	}
	for range 5 {
		for range 10 {
			if g.Queues[statistics].Free() > 0 {
				g.Queues[statistics].Add(g.Out(stat(4, 1)))
			}
			send(t, g, inflate, g.Out(encode(downward(spare, 8)...)))
			send(t, g, reports, virtiotest.Buffer{GPA: spare, Len: 1 << 20, Write: true})
			send(t, g, hints, virtiotest.Buffer{GPA: spare, Len: 1 << 20, Write: true})
			d.WriteConfig([]byte{1, 2, 3, 4}, 4)
			for _, _, ok := g.Queues[statistics].Take(); ok; _, _, ok = g.Queues[statistics].Take() {
			}
		}
		g.Restart()
	}
	close(over)
	others.Wait()
}

// FuzzDriver lets bytes choose what a driver does. The device must survive and must stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 40, 0, 0, 0, 0, 250, 0, 221, 9})
	f.Add([]byte{2, 0, 1, 0, 20, 4, 0, 0, 0, 0, 3, 1, 0, 1, 4, 2, 4, 0, 0, 1, 30, 30})
	f.Fuzz(func(t *testing.T, script []byte) {
		d := newBalloon(t, Config{Reporting: true, StatsEvery: 1})
		g := start(t, d, all)
		virtiotest.Script(g, script)
		g.Stop()
	})
}

// FuzzInflate holds the pages that are gone against those that the bytes name.
func FuzzInflate(f *testing.F) {
	f.Add([]byte{0x20, 0, 0, 0, 0x21, 0, 0, 0, 0x40, 0, 0, 0}, byte(3))
	f.Add(encode(0x2f, 0x50, 0x51, 0x52, 0x5f, 0x60, 0x51), byte(200))
	f.Fuzz(func(t *testing.T, request []byte, cut byte) {
		if len(request) == 0 || len(request) > pageSize {
			return
		}
		mem, err := guestmem.New([]guestmem.Range{{Start: 0, Size: 0x40 * pageSize}, {Start: 0x50 * pageSize, Size: 0x10 * pageSize}})
		if err != nil {
			t.Fatal(err)
		}
		d := newBalloon(t, Config{})
		g := virtiotest.Start(t, d, virtiotest.Config{Size: 2, Memory: mem})
		head := int(cut) % len(request)
		bufs := []virtiotest.Buffer{g.Out(request[head:])}
		if head > 0 {
			bufs = []virtiotest.Buffer{g.Out(request[:head]), bufs[0]}
		}
		var pages []uint32
		for i := 0; i+4 <= len(request); i += 4 {
			// The first 32 pages hold the rings.
			if p := binary.LittleEndian.Uint32(request[i:]); p >= 0x20 {
				pages = append(pages, p)
			} else {
				return
			}
		}
		want := map[uint32]bool{}
		for _, p := range pages {
			want[p] = true
		}
		for p := uint32(0x20); p < 0x60; p++ {
			if p < 0x40 || p >= 0x50 {
				filled(t, g, uint64(p)<<pageShift, pageSize)
			}
		}
		send(t, g, inflate, bufs...)
		for p := uint32(0x20); p < 0x60; p++ {
			b, err := mem.Slice(uint64(p)<<pageShift, pageSize)
			if errors.Is(err, guestmem.ErrOutside) {
				continue
			}
			if gone := b[0] == 0 && b[pageSize-1] == 0; gone != want[p] {
				t.Errorf("page %#x is gone: %t, want %t", p, gone, want[p])
			}
		}
	})
}
