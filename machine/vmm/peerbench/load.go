package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// load is one pattern of reads.
type load struct {
	name  string
	size  int // bytes of one read
	depth int // reads at a time, each on a thread of its own
	ops   int
}

const deepest = 32

// loads are the patterns with their numbers of reads.
func (o operations) loads() []load {
	return []load{
		{"4 KiB random, depth 1", 4 << 10, 1, o.Random},
		{"4 KiB random, depth 32", 4 << 10, deepest, o.Deep},
		{"1 MiB sequential", 1 << 20, 1, o.Sequential},
	}
}

// word writes the numbers for a kernel command line.
func (o operations) word() string { return fmt.Sprintf("%d,%d,%d", o.Random, o.Deep, o.Sequential) }

func parseOperations(word string) (o operations, err error) {
	if _, err := fmt.Sscanf(word, "%d,%d,%d", &o.Random, &o.Deep, &o.Sequential); err != nil {
		return o, fmt.Errorf("operations %q: %w", word, err)
	}
	return o, nil
}

// part is a share of the numbers, at least one of each.
func (o operations) part(divisor int) operations {
	return operations{max(1, o.Random/divisor), max(1, o.Deep/divisor), max(1, o.Sequential/divisor)}
}

// serveLoads runs all loads on all disks. Around each it waits for the host.
func serveLoads() error {
	ops, err := parseOperations(os.Getenv(wordOps))
	if err != nil {
		return err
	}
	if err := silenceEcho(); err != nil {
		return err
	}
	if err := insertModules(); err != nil {
		return err
	}
	names := strings.Split(os.Getenv(wordDisks), ",")
	devices, err := findDisks(names)
	if err != nil {
		return err
	}
	// Each thread of a load blocks in the kernel. With a processor of Go's for each, none waits until the runtime has noticed.
	runtime.GOMAXPROCS(deepest + 1)
	in := bufio.NewReader(os.Stdin)
	for _, name := range names {
		for _, l := range ops.loads() {
			if err := serveLoad(in, l, name, devices[name]); err != nil {
				return fmt.Errorf("%s on %s: %w", l.name, name, err)
			}
		}
	}
	return nil
}

func serveLoad(in *bufio.Reader, l load, disk, device string) error {
	say(lineReady + l.name + " on " + disk)
	if err := awaitHost(in); err != nil {
		return err
	}
	took, err := l.run(device, unix.O_DIRECT) // past the guest's page cache
	if err != nil {
		return err
	}
	say(lineEnd)
	if err := awaitHost(in); err != nil {
		return err
	}
	text, err := json.Marshal(loadCount{Load: l.name, Ops: l.ops, Bytes: int64(l.ops) * int64(l.size), Time: took})
	if err != nil {
		return err
	}
	say(lineCount + string(text))
	return nil
}

// run reads from the device, opened with flags beside those for reading.
func (l load) run(device string, flags int) (time.Duration, error) {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", device, err)
	}
	defer unix.Close(fd)
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", device, err)
	}
	places := l.places(size / int64(l.size))
	var next atomic.Int64
	var threads sync.WaitGroup
	errs := make([]error, l.depth)
	began := time.Now()
	for i := range l.depth {
		threads.Go(func() { errs[i] = l.thread(fd, places, &next) })
	}
	threads.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

// places are the offsets of the reads: the same in every run.
func (l load) places(blocks int64) []int64 {
	list := make([]int64, l.ops)
	r := rand.New(rand.NewPCG(1, uint64(l.depth)))
	for i := range list {
		list[i] = int64(i) % blocks * int64(l.size)
		if l.size == 4<<10 {
			list[i] = r.Int64N(blocks) * int64(l.size)
		}
	}
	return list
}

// thread reads place after place until none is left.
func (l load) thread(fd int, places []int64, next *atomic.Int64) error {
	buf, err := unix.Mmap(-1, 0, l.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("memory for a buffer: %w", err)
	}
	defer unix.Munmap(buf)
	for {
		i := next.Add(1) - 1
		if i >= int64(len(places)) {
			return nil
		}
		n, err := unix.Pread(fd, buf, places[i])
		if err != nil {
			return fmt.Errorf("read %d bytes at %d: %w", l.size, places[i], err)
		}
		if n != l.size {
			return fmt.Errorf("read %d bytes at %d: got %d", l.size, places[i], n)
		}
	}
}
