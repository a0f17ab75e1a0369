package kv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// Kinds of the disk below a server that is killed.
const (
	crashFolder = "USUI_KV_CRASH_FOLDER" // where the child keeps its store
	crashDisk   = "USUI_KV_CRASH_DISK"

	plain   = "plain"   // the real one: the page cache outlives the process
	holding = "holding" // what was not synced dies with the process
	lying   = "lying"   // likewise, and syncs of batches do nothing
	measure = "measure" // the real one, with segments of the usual size
)

// TestMain lets this binary be the server that is killed.
func TestMain(m *testing.M) {
	if folder := os.Getenv(crashFolder); folder != "" {
		if err := serveUntilKilled(folder, os.Getenv(crashDisk)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// liar says that it synced.
type liar struct{ disk.Folder }

func (l liar) Create(name string, head []byte, size int64) (disk.File, error) {
	f, err := l.Folder.Create(name, head, size)
	return lyingFile{f}, err
}

func (l liar) Open(name string) (disk.File, error) {
	f, err := l.Folder.Open(name)
	return lyingFile{f}, err
}

type lyingFile struct{ disk.File }

func (lyingFile) Sync() error { return nil }

func serveUntilKilled(path, kind string) error {
	folder, err := disk.Open(path, engine.IsOurs, disk.Ordinary)
	if err != nil {
		return err
	}
	segment := 256 << 10
	switch kind {
	case measure:
		segment = engine.DefaultSegment
	case holding, lying:
		folder = disktest.Holding(folder)
	}
	if kind == lying {
		folder = liar{folder}
	}
	s, err := New(Config{Listen: "127.0.0.1:0", Folder: folder, SegmentBytes: segment})
	if err != nil {
		return err
	}
	fmt.Println(s.Address())
	go func() { // ends with the process, and ends it if the test has died
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return s.Run(context.Background())
}

// victim is a server to be killed.
type victim struct {
	*exec.Cmd
	stdin   io.Closer
	address string
}

func startVictim(t testing.TB, folder, kind string) (*victim, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{Cmd: exec.Command(self)}
	v.Env = append(os.Environ(), crashFolder+"="+folder, crashDisk+"="+kind)
	v.Stderr = os.Stderr
	out, err := v.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if v.stdin, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	v.address = strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(v.address, "127.") {
		v.Wait()
		return nil, fmt.Errorf("the server says %q, %v", v.address, err)
	}
	return v, nil
}

// writer is a client with keys of its own: a counter, and a value that tells its number.
type writer struct {
	id               int
	acked, attempted int
}

func (w *writer) value(n int) string {
	random := rand.New(rand.NewPCG(uint64(w.id), uint64(n)))
	return fmt.Sprint(n, ":", strings.Repeat(fmt.Sprint("v", n, "."), 1+random.IntN(200)))
}

// write counts until the server dies.
func (w *writer) write(address string, acks *atomic.Int64, enough func()) {
	p, err := dial(address)
	if err != nil {
		return
	}
	defer p.Close()
	for {
		n := w.attempted + 1
		w.attempted = n
		pipeline := append(encode("INCR", fmt.Sprint("n", w.id)), encode("SET", fmt.Sprint("v", w.id), w.value(n))...)
		pipeline = append(pipeline, encode("INCR", "all")...)
		if _, err := p.Write(pipeline); err != nil {
			return
		}
		for range 3 {
			if r, err := p.reply(); err != nil || r[0] == '-' {
				return
			}
		}
		w.acked = n
		if acks.Add(1) == killAfter {
			enough()
		}
	}
}

// Sizes of the crash test. A cycle ends after so many acknowledged pipelines.
const (
	cycles    = 30
	writers   = 64
	killAfter = 300
)

// check compares what a restarted server has with what was acknowledged, and goes on from there.
func (w *writer) check(p *peer) error {
	counter, err := p.do("GET", fmt.Sprint("n", w.id))
	if err != nil {
		return err
	}
	value, err := p.do("GET", fmt.Sprint("v", w.id))
	if err != nil {
		return err
	}
	n, v := number(counter), number(value)
	if n < w.acked || n > w.attempted || v < w.acked || v > n {
		return fmt.Errorf("writer %d: counter %d and value %d, want both from %d (acknowledged) to %d (sent)", w.id, n, v, w.acked, w.attempted)
	}
	if want := w.value(v); v > 0 && !strings.HasSuffix(value, "\r\n"+want+"\r\n") {
		return fmt.Errorf("writer %d: value %d is not whole: %.60q", w.id, v, value)
	}
	w.acked, w.attempted = n, n
	return nil
}

// number is the number at the start of a bulk reply, 0 for none.
func number(reply string) int {
	_, body, _ := strings.Cut(reply, "\r\n")
	digits, _, _ := strings.Cut(strings.TrimSuffix(body, "\r\n"), ":")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// crash runs cycles of writing and killing, and returns the first violation.
func crash(t *testing.T, kind string, cycles int) error {
	folder := t.TempDir()
	all := make([]*writer, writers)
	for i := range all {
		all[i] = &writer{id: i}
	}
	for cycle := range cycles + 1 {
		v, err := startVictim(t, folder, kind)
		if err != nil {
			return fmt.Errorf("cycle %d: %w", cycle, err)
		}
		if err := verify(v.address, all); err != nil || cycle == cycles {
			v.Process.Kill()
			return errors.Join(err, killed(v))
		}
		var acks atomic.Int64
		var running sync.WaitGroup
		for _, w := range all {
			running.Go(func() { w.write(v.address, &acks, func() { v.Process.Kill() }) })
		}
		running.Wait()
		if err := killed(v); err != nil {
			return fmt.Errorf("cycle %d: %w", cycle, err)
		}
	}
	return nil
}

// killed waits for the end of a server, which has to be by the signal.
func killed(v *victim) error {
	v.stdin.Close()
	if err := v.Wait(); err == nil || v.ProcessState.ExitCode() != -1 {
		return fmt.Errorf("the server ended by itself: %v", err)
	}
	return nil
}

func verify(address string, all []*writer) error {
	p, err := dial(address)
	if err != nil {
		return err
	}
	defer p.Close()
	least := 0
	for _, w := range all {
		least += w.acked
		if err := w.check(p); err != nil {
			return err
		}
	}
	r, err := p.do("GET", "all")
	if n := number(r); err != nil || n < least {
		return fmt.Errorf("the counter of all has %d, %v; want at least the %d that were acknowledged", n, err, least)
	}
	if _, err := p.do("SET", "all", fmt.Sprint(sum(all))); err != nil {
		return err
	}
	return nil
}

func sum(all []*writer) (n int) {
	for _, w := range all {
		n += w.acked
	}
	return n
}

func TestKillingLosesNothingAcknowledged(t *testing.T) {
	for _, kind := range []string{plain, holding} {
		if err := crash(t, kind, cycles); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestTheKillTestNoticesAMissingSync takes the sync of batches out.
func TestTheKillTestNoticesAMissingSync(t *testing.T) {
	if err := crash(t, lying, 3); err == nil {
		t.Error("without syncs 3 kills lost nothing: this test cannot fail")
	} else {
		t.Log(err)
	}
}
