package fsmove

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
)

// run runs a program and says how long it took.
func run(b testing.TB, name string, args ...string) time.Duration {
	b.Helper()
	began := time.Now()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %q: %v, %s", name, args, err, out)
	}
	return time.Since(began)
}

func median[T ~int64 | ~float64](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// onDisk has all that a benchmark makes lie on an ext4 file system of its own, which has a journal, as those of servers have: that of the machine may have none.
func onDisk(b *testing.B) {
	b.Helper()
	need.Root(b)
	need.Loop(b)
	mkfs := need.Tool(b, "mkfs.ext4", "e2fsprogs")
	dir, err := os.MkdirTemp("", "usui-bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<30), os.Mkdir(at, 0o755)); err != nil {
		b.Fatal(err)
	}
	run(b, mkfs, "-q", "-E", "lazy_itable_init=0", image)
	run(b, "mount", "-o", "loop", image, at)
	b.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			b.Error(err)
		}
	})
	b.Setenv("TMPDIR", at)
}

// heart is a client that opens, reads, writes and looks at files every 10 ms, and remembers the longest time without a success.
type heart struct {
	file    string
	longest time.Duration
	errors  int
}

// beat goes on until over is set. The fence is what keeps the old server's clients from it at the moment of the switch.
func (h *heart) beat(dir string, fence *sync.RWMutex, over *atomic.Bool, beats chan<- struct{}) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for last := time.Now(); !over.Load(); <-ticker.C {
		fence.RLock()
		err := h.once(dir)
		fence.RUnlock()
		select {
		case beats <- struct{}{}:
		default: // nobody counts
		}
		if err != nil {
			h.errors++
			continue
		}
		now := time.Now()
		h.longest, last = max(h.longest, now.Sub(last)), now
	}
}

func (h *heart) once(dir string) error {
	if _, err := os.ReadFile(filepath.Join(dir, h.file)); err != nil {
		return err
	}
	own := filepath.Join(dir, "beat", filepath.Base(h.file))
	if err := os.WriteFile(own, []byte(time.Now().String()), 0o644); err != nil {
		return err
	}
	_, err := os.Stat(own)
	return err
}

// BenchmarkStop has 100 clients use a tree while the server beneath them is changed, to the mount and from there to the destination, 20 times, and reports the longest time that a client
// had no answer. Beside it, how long the last pass of rsync and of rclone takes over the same tree, for which clients have to stop.
func BenchmarkStop(b *testing.B) {
	onDisk(b)
	rsync, rclone := need.Tool(b, "rsync", "rsync"), need.Tool(b, "rclone", "rclone")
	src, _, _ := paths(b)
	names := make([]string, 0, 300)
	for name := range sow(b, src, 300, 4000) {
		names = append(names, name)
	}
	slices.Sort(names)
	if err := os.Mkdir(filepath.Join(src, "beat"), 0o755); err != nil {
		b.Fatal(err)
	}
	var start, finish []time.Duration // each client's longest gap of each switch
	var finalRsync, finalRclone []time.Duration
	failed := 0
	for b.Loop() {
		for range 20 {
			for i, into := range []*[]time.Duration{&start, &finish} {
				gaps, n := switched(b, src, names, i == 1)
				*into, failed = append(*into, gaps...), failed+n
			}
		}
		for range 3 {
			to, other := b.TempDir(), b.TempDir()
			run(b, rsync, "-aHAX", src+"/", to)
			finalRsync = append(finalRsync, run(b, rsync, "-aHAX", "--delete", src+"/", to))
			run(b, rclone, "sync", "--metadata", "--links", src, other)
			finalRclone = append(finalRclone, run(b, rclone, "sync", "--metadata", "--links", src, other))
		}
	}
	b.ReportMetric(float64(slices.Max(start).Milliseconds()), "start-longest-ms")
	b.ReportMetric(float64(median(start).Milliseconds()), "start-median-ms")
	b.ReportMetric(float64(slices.Max(finish).Milliseconds()), "finish-longest-ms")
	b.ReportMetric(float64(median(finish).Milliseconds()), "finish-median-ms")
	b.ReportMetric(float64(failed), "errors")
	b.ReportMetric(float64(median(finalRsync).Milliseconds()), "rsync-last-pass-ms")
	b.ReportMetric(float64(median(finalRclone).Milliseconds()), "rclone-last-pass-ms")
}

// crowd is 100 clients that use a directory.
type crowd struct {
	hearts  []heart
	fence   sync.RWMutex // held for writing, it keeps them from the directory
	beats   chan struct{}
	over    atomic.Bool
	clients sync.WaitGroup
}

// gather has them begin.
func gather(dir string, names []string) *crowd {
	c := &crowd{hearts: make([]heart, 100), beats: make(chan struct{})}
	for i := range c.hearts {
		c.hearts[i].file = names[i*len(names)/len(c.hearts)]
		c.clients.Go(func() { c.hearts[i].beat(dir, &c.fence, &c.over, c.beats) }) // until leave
	}
	c.several()
	return c
}

// several returns when each had its turn several times.
func (c *crowd) several() {
	for range 3 * len(c.hearts) {
		<-c.beats
	}
}

// leave has them end, and says what each has noticed, and how many calls failed.
func (c *crowd) leave() (gaps []time.Duration, failed int) {
	c.several()
	c.over.Store(true)
	c.clients.Wait()
	for _, h := range c.hearts {
		gaps, failed = append(gaps, h.longest), failed+h.errors
	}
	return gaps, failed
}

// switched has clients use a tree while a move of it starts, or while one ends, and says what each of them has noticed, and how many calls failed.
func switched(b *testing.B, src string, names []string, atEnd bool) (gaps []time.Duration, failed int) {
	var c *crowd
	if atEnd {
		v := startKept(b, src, b.TempDir(), src) // in the place of the old one
		c = gather(src, names)
		v.end(b)
		gaps, failed = c.leave()
	} else {
		c = gather(src, names)
		c.fence.Lock()
		v := startKept(b, src, b.TempDir(), src)
		c.fence.Unlock()
		gaps, failed = c.leave()
		v.end(b)
	}
	if err := unix.Unmount(src, unix.MNT_DETACH); err != nil {
		b.Fatal(err)
	}
	return gaps, failed
}

// BenchmarkFirstAccess looks for the first time at what lies deepest in a tree of 16 folders with 1,000 entries each.
func BenchmarkFirstAccess(b *testing.B) {
	onDisk(b)
	src, _, _ := paths(b)
	dir := src
	for range 16 {
		for i := range 1000 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte("content"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		if dir = filepath.Join(dir, "deeper"); os.Mkdir(dir, 0o755) != nil {
			b.Fatal("mkdir")
		}
	}
	in, err := filepath.Rel(src, dir)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		for range 5 {
			at := b.TempDir()
			v := startKept(b, src, b.TempDir(), at)
			began := time.Now()
			if _, err := os.Lstat(filepath.Join(at, in)); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
			v.end(b)
		}
	}
	b.ReportMetric(float64(slices.Max(took).Milliseconds()), "worst-ms")
	b.ReportMetric(float64(median(took).Milliseconds()), "median-ms")
}

// BenchmarkListing runs ls -l in a folder of 100,000 entries that has not arrived, and of which nothing is cached, and in the source's.
func BenchmarkListing(b *testing.B) {
	onDisk(b)
	src, _, _ := paths(b)
	for i := range 100_000 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint("file", i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	list := func(dir string) time.Duration { return run(b, "ls", "-l", dir) }
	var source, warm, mount, again []time.Duration
	for b.Loop() {
		for range 3 {
			unix.Sync()
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0o200); err != nil {
				b.Fatal(err)
			}
			source = append(source, list(src))
			warm = append(warm, list(src))
			at := b.TempDir()
			v := startKept(b, src, b.TempDir(), at)
			mount = append(mount, list(at))
			again = append(again, list(at))
			v.end(b)
		}
	}
	b.ReportMetric(float64(median(source).Milliseconds()), "source-cold-ms")
	b.ReportMetric(float64(median(warm).Milliseconds()), "source-warm-ms")
	b.ReportMetric(float64(median(mount).Milliseconds()), "first-ms")
	b.ReportMetric(float64(median(again).Milliseconds()), "again-ms")
}

// BenchmarkMigration moves a tree of small and large files that nobody uses, and has rsync copy it, in turn.
func BenchmarkMigration(b *testing.B) {
	onDisk(b)
	rsync := need.Tool(b, "rsync", "rsync")
	src, _, _ := paths(b)
	sow(b, src, 20_000, 20_000)
	sow(b, filepath.Join(src, "large"), 8, 64<<20)
	var here, there []time.Duration
	for b.Loop() {
		for range 3 {
			unix.Sync()
			began := time.Now()
			startKept(b, src, b.TempDir(), b.TempDir()).end(b)
			here = append(here, time.Since(began))
			to := b.TempDir()
			began = time.Now()
			run(b, rsync, "-aHAX", src+"/", to)
			unix.Sync() // what has arrived here is on the disk
			there = append(there, time.Since(began))
		}
	}
	b.ReportMetric(median(here).Seconds(), "s")
	b.ReportMetric(median(there).Seconds(), "rsync-s")
	b.ReportMetric(median(here).Seconds()/median(there).Seconds(), "of-rsync")
}

// BenchmarkForeground reads files that have arrived, with 4 clients, while the rest is on its way, and while the move is paused, in turn.
func BenchmarkForeground(b *testing.B) {
	onDisk(b)
	src, _, _ := paths(b)
	sow(b, filepath.Join(src, "used"), 200, 100_000)
	sow(b, filepath.Join(src, "rest"), 30_000, 30_000)
	at := b.TempDir()
	v := startKept(b, src, b.TempDir(), at)
	c, _ := v.ask(b)
	if err := c.Pause(b.Context(), true); err != nil {
		b.Fatal(err)
	}
	var names []string
	err := filepath.WalkDir(filepath.Join(at, "used"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	p99 := func() time.Duration {
		ctx, stop := context.WithTimeout(b.Context(), 2*time.Second)
		defer stop()
		var all sync.WaitGroup
		took := make([][]time.Duration, 4)
		for i := range took {
			all.Go(func() { // until ctx ends
				for random := rand.New(rand.NewPCG(1, uint64(i))); ctx.Err() == nil; {
					began := time.Now()
					if _, err := os.ReadFile(names[random.IntN(len(names))]); err != nil {
						b.Error(err)
						return
					}
					took[i] = append(took[i], time.Since(began))
				}
			})
		}
		all.Wait()
		sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
		return sorted[len(sorted)*99/100]
	}
	var without, with []time.Duration
	for b.Loop() {
		for range 5 {
			without = append(without, p99())
			if err := c.Pause(b.Context(), false); err != nil {
				b.Fatal(err)
			}
			with = append(with, p99())
			if err := c.Pause(b.Context(), true); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, s := v.ask(b); s.FilesWaiting+s.FoldersWaiting == 0 {
		b.Error("everything had arrived before the end")
	}
	b.ReportMetric(float64(median(without).Microseconds()), "without-p99-us")
	b.ReportMetric(float64(median(with).Microseconds()), "with-p99-us")
	b.ReportMetric(float64(median(with))/float64(median(without)), "ratio")
}

// BenchmarkAccess has fio use a file that has arrived, by the mount and where it lies, in turn, and then in the mount's place when that has gone.
func BenchmarkAccess(b *testing.B) {
	onDisk(b)
	fio := need.Tool(b, "fio", "fio")
	src, _, _ := paths(b)
	dst, at := b.TempDir(), b.TempDir()
	if err := os.WriteFile(filepath.Join(src, "file"), make([]byte, 512<<20), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "small"), []byte("content"), 0o644); err != nil {
		b.Fatal(err)
	}
	v := startKept(b, src, dst, at)
	c, _ := v.ask(b)
	v.awaitAll(b)
	loads := [][]string{{"read", "1m"}, {"write", "1m"}, {"randread", "4k"}, {"randwrite", "4k"}}
	for _, l := range loads {
		sideBySide(b, fio, l, filepath.Join(at, "file"), filepath.Join(dst, "file"), "")
	}
	for what, f := range map[string]func(dir string, i int) error{
		"stat": func(dir string, _ int) error { _, err := os.Lstat(filepath.Join(dir, "small")); return err },
		"open": func(dir string, _ int) error { _, err := os.ReadFile(filepath.Join(dir, "small")); return err },
		"create": func(dir string, i int) error {
			return os.WriteFile(filepath.Join(dir, fmt.Sprint("new", i)), nil, 0o644)
		},
	} {
		var mount, native []float64
		for range 3 {
			for dir, into := range map[string]*[]float64{at: &mount, dst: &native} {
				const n = 2000
				began := time.Now()
				for i := range n {
					if err := f(dir, i); err != nil {
						b.Fatal(err)
					}
				}
				*into = append(*into, n/time.Since(began).Seconds())
				for i := range n {
					_ = os.Remove(filepath.Join(dir, fmt.Sprint("new", i))) // some make none
				}
			}
		}
		b.ReportMetric(median(mount), what+"/s")
		b.ReportMetric(median(native), "native-"+what+"/s")
	}
	if err := c.Finish(b.Context(), control.Consent{Verify: control.None}); err != nil {
		b.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		b.Fatal(err)
	}
	for _, l := range loads {
		sideBySide(b, fio, l, filepath.Join(at, "file"), filepath.Join(dst, "file"), "-after")
	}
	b.ReportMetric(0, "ns/op")
}

// sideBySide reports what part of the native speed fio gets by another path.
func sideBySide(b *testing.B, fio string, load []string, path, native, suffix string) {
	b.Helper()
	var here, there []float64
	for range 5 {
		here = append(here, bandwidth(b, fio, load, path))
		there = append(there, bandwidth(b, fio, load, native))
	}
	b.ReportMetric(100*median(here)/median(there), load[0]+suffix+"-%")
	b.Logf("%s%s: %.0f MiB/s of %.0f", load[0], suffix, median(here)/1024, median(there)/1024)
}

// bandwidth is what fio measures, in KiB/s.
func bandwidth(b *testing.B, fio string, load []string, path string) float64 {
	b.Helper()
	out, err := exec.Command(fio, "--name=x", "--filename="+path, "--rw="+load[0], "--bs="+load[1], "--size=512m", "--ioengine=psync", "--time_based", "--runtime=1",
		"--output-format=json", "--invalidate=0").Output()
	if err != nil {
		b.Fatalf("fio: %v, %s", err, out)
	}
	var r struct {
		Jobs []struct{ Read, Write struct{ BW float64 } }
	}
	if err := json.Unmarshal(out, &r); err != nil || len(r.Jobs) != 1 {
		b.Fatalf("fio: %v, %s", err, out)
	}
	return r.Jobs[0].Read.BW + r.Jobs[0].Write.BW
}
