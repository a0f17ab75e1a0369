package uring

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// open makes a ring over a new file with content.
func open(t testing.TB, depth, segments int, content []byte) (*Ring, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return openFD(t, int(f.Fd()), depth, segments), f
}

func openFD(t testing.TB, fd, depth, segments int) *Ring {
	t.Helper()
	need.URing(t)
	r, err := New(fd, depth, segments)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return r
}

// next waits for one completion.
func next(t testing.TB, r *Ring) Completion {
	t.Helper()
	for {
		if c, ok := r.Next(); ok {
			return c
		}
		if err := r.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	rnd.Read(b)
	return b
}

func TestReadScattersAndStopsAtTheEnd(t *testing.T) {
	content := random(10000)
	r, _ := open(t, 4, 8, content)
	tests := []struct {
		name      string
		sizes     []int
		skip, off int64
		want      []byte // what lands behind skip
	}{
		{"one buffer", []int{512}, 0, 100, content[100:612]},
		{"several", []int{1, 0, 4096, 7}, 0, 3, content[3 : 3+4104]},
		{"inside the first", []int{100, 100}, 40, 0, content[:160]},
		{"behind the first", []int{100, 100}, 130, 0, content[:70]},
		{"more than a slot holds", []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0, content[:8]},
		{"across the end", []int{600, 600}, 0, 9000, content[9000:]},
		{"behind the end", []int{600}, 0, 20000, nil},
		{"nothing", nil, 0, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var bufs [][]byte
			for _, n := range tt.sizes {
				bufs = append(bufs, make([]byte, n))
			}
			must(t, r.Read(2, bufs, tt.skip, tt.off))
			r.Submit()
			c := next(t, r)
			if c.Slot != 2 || c.Err != nil || c.N != len(tt.want) {
				t.Fatalf("completion = %+v, want slot 2 and %d bytes", c, len(tt.want))
			}
			got := bytes.Join(bufs, nil)[tt.skip:][:c.N]
			if !bytes.Equal(got, tt.want) {
				t.Errorf("other bytes than in the file")
			}
		})
	}
}

func TestWriteSyncAndFallocate(t *testing.T) {
	r, f := open(t, 4, 8, bytes.Repeat([]byte{0xff}, 16384))
	must(t, r.Write(0, [][]byte{[]byte("skip"), []byte("me, "), []byte("hello")}, 6, 1000))
	r.Submit()
	if c := next(t, r); c.Err != nil || c.N != 7 {
		t.Fatalf("write completes with %+v", c)
	}
	must(t, r.Datasync(1))
	r.Submit()
	if c := next(t, r); c != (Completion{Slot: 1}) {
		t.Fatalf("datasync completes with %+v", c)
	}
	must(t, r.Fallocate(3, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096))
	r.Submit()
	if c := next(t, r); c != (Completion{Slot: 3}) {
		t.Fatalf("fallocate completes with %+v", c)
	}
	want := bytes.Repeat([]byte{0xff}, 16384)
	copy(want[1000:], ", hello")
	clear(want[4096:8192])
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file holds other bytes than were written (%v)", err)
	}
}

func TestErrorsComeWithTheirRequest(t *testing.T) {
	f, err := os.Open("/dev/null")
	must(t, err)
	defer f.Close()
	r := openFD(t, int(f.Fd()), 2, 1)
	must(t, r.Write(1, [][]byte{{1}}, 0, 0)) // opened for reading
	r.Submit()
	if c := next(t, r); c.Slot != 1 || !errors.Is(c.Err, unix.EBADF) {
		t.Errorf("completion = %+v, want EBADF in slot 1", c)
	}
}

func TestSlotsAreCheckedAndFreed(t *testing.T) {
	r, _ := open(t, 2, 1, []byte("x"))
	for _, slot := range []int{-1, 2} {
		if err := r.Datasync(slot); !errors.Is(err, ErrSlot) {
			t.Errorf("Datasync(%d) = %v, want %v", slot, err, ErrSlot)
		}
		if err := r.Read(slot, nil, 0, 0); !errors.Is(err, ErrSlot) {
			t.Errorf("Read(%d) = %v, want %v", slot, err, ErrSlot)
		}
	}
	for range 10 {
		must(t, r.Datasync(0))
		must(t, r.Datasync(1))
		if err := r.Datasync(1); !errors.Is(err, ErrSlot) {
			t.Errorf("Datasync of a busy slot = %v, want %v", err, ErrSlot)
		}
		r.Submit()
		a, b := next(t, r), next(t, r)
		if a.Slot+b.Slot != 1 || r.InFlight() != 0 {
			t.Fatalf("completions of slots %d and %d with %d in flight, want 0, 1 and none", a.Slot, b.Slot, r.InFlight())
		}
	}
}

// A kernel that takes no requests: each completes once, with the reason, and the ring goes on when it takes them again.
func TestRefusedRequestsComplete(t *testing.T) {
	r, _ := open(t, 4, 1, []byte("abcd"))
	fd := r.fd
	r.fd = -1
	for slot := range 3 {
		must(t, r.Read(slot, [][]byte{make([]byte, 4)}, 0, 0))
	}
	r.Submit()
	r.fd = fd
	seen := map[int]bool{}
	for range 3 {
		c, ok := r.Next()
		if !ok || !errors.Is(c.Err, unix.EBADF) || seen[c.Slot] {
			t.Fatalf("Next() = %+v, %v; want EBADF, a slot each", c, ok)
		}
		seen[c.Slot] = true
	}
	buf := make([]byte, 4)
	must(t, r.Read(0, [][]byte{buf}, 0, 0))
	r.Submit()
	if c := next(t, r); c.N != 4 || string(buf) != "abcd" {
		t.Errorf("afterwards a read completes with %+v and %q", c, buf)
	}
}

func TestRegisteredFileOutlivesItsDescriptor(t *testing.T) {
	r, f := open(t, 1, 1, []byte("abcd"))
	f.Close()
	buf := make([]byte, 4)
	must(t, r.Read(0, [][]byte{buf}, 0, 0))
	r.Submit()
	if c := next(t, r); c.Err != nil || string(buf) != "abcd" {
		t.Errorf("read completes with %+v and %q", c, buf)
	}
}

func TestCloseWaitsForWhatIsInFlight(t *testing.T) {
	need.URing(t)
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	defer unix.Close(fds[1])
	r, err := New(fds[0], 1, 1)
	unix.Close(fds[0])
	must(t, err)
	buf := make([]byte, 4)
	must(t, r.Read(0, [][]byte{buf}, 0, -1))
	r.Submit()
	if c, ok := r.Next(); ok {
		t.Fatalf("an empty pipe was read: %+v", c)
	}
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case err := <-closed:
		t.Fatalf("Close() = %v before the read was complete", err)
	default:
	}
	_, err = unix.Write(fds[1], []byte("abcd"))
	must(t, err)
	if err := <-closed; err != nil || string(buf) != "abcd" {
		t.Errorf("Close() = %v, buffer %q; want the read to be complete", err, buf)
	}
}

func TestReadySaysWhatNextHas(t *testing.T) {
	r, _ := open(t, 1, 1, []byte("x"))
	if r.Ready() {
		t.Error("Ready() before there was a request")
	}
	must(t, r.Datasync(0))
	r.Submit()
	must(t, r.Wait())
	if !r.Ready() {
		t.Error("not Ready() after Wait")
	}
	if _, ok := r.Next(); !ok || r.Ready() {
		t.Errorf("Next() = %v, then Ready() = %v; want true, false", ok, r.Ready())
	}
}

func TestWakeEndsWait(t *testing.T) {
	r, _ := open(t, 1, 1, nil)
	for range 100 {
		done := make(chan error)
		go func() { done <- r.Wait() }()
		r.Wake()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if c, ok := r.Next(); ok {
			t.Fatalf("Wake made the completion %+v", c)
		}
	}
}

// One side queues and submits, the other waits and takes, under one lock, as machine/block does it.
func TestHammerTwoSides(t *testing.T) {
	const depth, total = 16, 20000
	content := random(1 << 16)
	r, _ := open(t, depth, 4, content)
	var mu sync.Mutex
	room := sync.NewCond(&mu)
	free := make([]int, depth)
	bufs := make([][]byte, depth)
	offs := make([]int, depth)
	for i := range depth {
		free[i], bufs[i] = i, make([]byte, 512)
	}
	done := make(chan int)
	go func() {
		n := 0
		for n < total {
			if err := r.Wait(); err != nil {
				t.Error(err)
				break
			}
			mu.Lock()
			for c, ok := r.Next(); ok; c, ok = r.Next() {
				off := offs[c.Slot]
				if c.Err != nil || c.N != 512 || !bytes.Equal(bufs[c.Slot], content[off:off+512]) {
					t.Errorf("completion %+v, or other bytes", c)
				}
				free = append(free, c.Slot)
				n++
			}
			room.Signal()
			mu.Unlock()
		}
		done <- n
	}()
	rnd := rand.New(rand.NewPCG(1, 2))
	mu.Lock()
	for range total {
		for len(free) == 0 {
			room.Wait()
		}
		slot := free[len(free)-1]
		free = free[:len(free)-1]
		offs[slot] = rnd.IntN(len(content) - 512)
		must(t, r.Read(slot, [][]byte{bufs[slot][:100], bufs[slot][100:]}, 0, int64(offs[slot])))
		if rnd.IntN(4) == 0 || len(free) == 0 {
			r.Submit()
		}
	}
	r.Submit()
	mu.Unlock()
	if n := <-done; n != total {
		t.Errorf("%d requests made %d completions", total, n)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	r, _ := open(t, 4, 4, random(8192))
	bufs := [][]byte{make([]byte, 4096), make([]byte, 512)}
	n := testing.AllocsPerRun(1000, func() {
		must(t, r.Read(0, bufs[:1], 0, 0))
		must(t, r.Read(1, bufs, 0, 512))
		r.Submit()
		next(t, r)
		next(t, r)
	})
	if n != 0 {
		t.Errorf("%v allocations for two reads, want none", n)
	}
}

func TestNewLeaksNothing(t *testing.T) {
	need.URing(t)
	count := func() (fds, maps int) {
		d, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		m, err := os.ReadFile("/proc/self/maps")
		must(t, err)
		return len(d), strings.Count(string(m), "io_uring")
	}
	null, err := os.Open("/dev/null")
	must(t, err)
	defer null.Close()
	fds, maps := count()
	for range 20 {
		r, err := New(int(null.Fd()), 8, 8)
		must(t, err)
		must(t, r.Close())
		if _, err := New(99999, 8, 8); err == nil { // half-built: the file cannot be registered
			t.Fatal("a descriptor that is not open was registered")
		}
	}
	if f, m := count(); f != fds || m != maps {
		t.Errorf("%d descriptors and %d mappings, before %d and %d", f, m, fds, maps)
	}
}

func TestNewChecksItsArguments(t *testing.T) {
	for _, a := range [][2]int{{0, 1}, {5000, 1}, {1, 0}, {1, MaxSegments + 1}} {
		if _, err := New(0, a[0], a[1]); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("New(depth %d, segments %d) = %v, want an error about its arguments", a[0], a[1], err)
		}
	}
}

func TestSetupErrors(t *testing.T) {
	tests := []struct {
		err         error
		unavailable bool
		text        string
	}{
		{unix.ENOSYS, true, "has no io_uring"},
		{unix.EPERM, true, "kernel.io_uring_disabled"},
		{unix.EACCES, true, "forbidden"},
		{unix.ENOMEM, true, "ulimit -l"},
		{unix.EINVAL, true, "invalid argument"},
		{unix.EMFILE, false, "too many open files"},
	}
	for _, tt := range tests {
		err := setupError(tt.err)
		if errors.Is(err, ErrUnavailable) != tt.unavailable || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("setupError(%v) = %q, want unavailable %v and %q", tt.err, err, tt.unavailable, tt.text)
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	r, _ := open(b, 4, 4, random(1<<20))
	bufs := [][]byte{make([]byte, 4096)}
	for b.Loop() {
		must(b, r.Read(0, bufs, 0, 8192))
		r.Submit()
		next(b, r)
	}
}
