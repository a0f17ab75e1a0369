package balloon

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/guestmem"
	"usui/machine/virtio/virtiotest"
)

// released notes pages that were released.
type released map[uint64]bool

func (r released) release(first, n uint64) {
	for p := first; p < first+n; p++ {
		r[p] = true
	}
}

// TestHeldAgainstModel puts pages in and takes them out at random, and holds what is released against sets.
func TestHeldAgainstModel(t *testing.T) {
	for _, per := range []uint64{16, 64, 512} {
		const pages = 1500 // the last page of the host reaches beyond
		h := &held{per: per, bits: make([]uint64, (pages+63)/64)}
		in := map[uint64]bool{}
		random := rand.New(rand.NewPCG(per, 1))
		for range 1000 {
			first := random.Uint64N(pages)
			n := 1 + random.Uint64N(min(pages-first, 2*per))
			if random.IntN(8) == 0 {
				h.remove([]uint32{uint32(first), pages + 100, 1<<32 - 1})
				delete(in, first)
				continue
			}
			got, want := released{}, released{}
			h.add(first, n, got)
			for p := first; p < first+n; p++ {
				in[p] = true
			}
			for page := first / per; page <= (first+n-1)/per; page++ {
				whole := true
				for p := page * per; p < page*per+per; p++ {
					whole = whole && in[p]
				}
				if whole {
					want.release(page*per, per)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("per %d: add(%d, %d) released %d pages, want %d", per, first, n, len(got), len(want))
			}
			for p := range want {
				if !got[p] {
					t.Fatalf("per %d: add(%d, %d) did not release page %d", per, first, n, p)
				}
			}
		}
	}
}

// blocks is how many bytes of the host the guest's memory takes.
func blocks(t testing.TB, mem *guestmem.Memory) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(mem.File().Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return uint64(st.Blocks) * 512
}

// TestLabHugePagesGoBackAsAWhole inflates the parts of a huge page of the host, in requests of single pages in any order.
func TestLabHugePagesGoBackAsAWhole(t *testing.T) {
	const huge = guestmem.HugePageSize
	need.LabHugePages(t, 4)
	for _, exact := range []bool{true, false} {
		mem, err := guestmem.NewHuge([]guestmem.Range{{Start: 0, Size: 4 * huge}})
		if err != nil {
			t.Fatal(err)
		}
		d := newBalloon(t, Config{Memory: 4 * huge})
		features := uint64(all)
		if !exact {
			features &^= FeatureMustTellHost
		}
		g := virtiotest.Start(t, d, virtiotest.Config{Features: features, Memory: mem})
		filled(t, g, huge, 3*huge)
		send(t, g, deflate, g.Out(encode(1))) // takes the page that the rings are in
		before := blocks(t, mem)
		pages := upward(2*huge, 512)
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(pages), func(i, j int) { pages[i], pages[j] = pages[j], pages[i] })
		for part := range slices.Chunk(pages[:511], 73) {
			send(t, g, inflate, g.Out(encode(part...)))
		}
		send(t, g, deflate, g.Out(encode(pages[7])))
		send(t, g, inflate, g.Out(encode(pages[511])))
		if got := blocks(t, mem); got != before {
			t.Errorf("exact %t: %d bytes given back while a part of each page was in use", exact, before-got)
		}
		send(t, g, inflate, g.Out(encode(pages[7])))
		want := before
		if exact {
			want -= huge
		}
		if got := blocks(t, mem); got != want {
			t.Errorf("exact %t: the memory file holds %d bytes, want %d", exact, got, want)
		}
		var one [1]byte
		for _, at := range []int64{2*huge - 1, 3 * huge} {
			if _, err := mem.ReadAt(one[:], at); err != nil || one[0] != 0xaa {
				t.Errorf("exact %t: byte %#x = %#x, %v: a neighbour was released", exact, at, one[0], err)
			}
		}
		// What comes as a whole is released whatever the driver accepted.
		g.Restart()
		request := make([]byte, 4*512)
		for i := range 512 {
			binary.LittleEndian.PutUint32(request[4*i:], 3*huge>>pageShift+uint32(i))
		}
		send(t, g, inflate, g.Out(request))
		if got := blocks(t, mem); got != want-huge {
			t.Errorf("exact %t: the memory file holds %d bytes, want %d", exact, got, want-huge)
		}
		g.Stop()
		if err := mem.Close(); err != nil { // the pages are for the next round
			t.Fatal(err)
		}
	}
}
