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
	"runtime"
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
	segment, loops := 256<<10, 2
	switch kind {
	case measure:
		segment, loops = engine.DefaultSegment, defaultLoops(runtime.NumCPU(), false)
		addProcessors(loops)
	case holding, lying:
		folder = disktest.Holding(folder)
	}
	if kind == lying {
		folder = liar{folder}
	}
	s, err := New(Config{Listen: "127.0.0.1:0", Folder: folder, SegmentBytes: segment, Loops: loops})
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

// writer is a client with keys of its own: a counter, a value that tells its number, and what commands write at once (see pipeline).
type writer struct {
	id               int
	acked, attempted int
	moved            int // the hash that goes from key to key has this number at least; 0: there is none
}

// kept is how many numbers a writer's set has.
const kept = 20

// pipeline is what a writer sends as its number n: after the counter and the value, two fields and two keys that must always be equal, a
// transaction of which that is true, too, two members with the same score, a set of the last numbers, a list of them that goes from key to key
// element by element, and a hash whose key has the number in its name.
func (w *writer) pipeline(n int) [][]string {
	key := func(name string, n ...any) string { return fmt.Sprint(append([]any{name, w.id}, n...)...) }
	move := []string{"RENAME", key("m", ":", w.moved), key("m", ":", n)}
	if w.moved == 0 {
		move = []string{"HSET", key("m", ":", n), "a", "1", "b", "2"}
	}
	return [][]string{
		{"INCR", key("n")}, {"SET", key("v"), w.value(n)}, {"INCR", "all"},
		{"SADD", key("s"), fmt.Sprint(n)}, {"SREM", key("s"), fmt.Sprint(n - kept)},
		{"HSET", key("h"), "a", fmt.Sprint(n), "b", fmt.Sprint(n)}, {"MSET", key("x"), fmt.Sprint(n), key("y"), fmt.Sprint(n)},
		{"ZADD", key("z"), fmt.Sprint(n), "a", fmt.Sprint(n), "b"},
		{"RPUSH", key("l"), fmt.Sprint(n)}, {"LMOVE", key("l"), key("o"), "LEFT", "RIGHT"}, {"LTRIM", key("o"), fmt.Sprint(-kept), "-1"},
		{"MULTI"}, {"SET", key("t"), fmt.Sprint(n)}, {"HSET", key("u"), "f", fmt.Sprint(n)}, {"EXEC"}, move,
	}
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
		commands := w.pipeline(n)
		var pipeline []byte
		for _, c := range commands {
			pipeline = append(pipeline, encode(c...)...)
		}
		if _, err := p.Write(pipeline); err != nil {
			return
		}
		for range commands {
			if r, err := p.reply(); err != nil || r[0] == '-' {
				return
			}
		}
		w.acked, w.moved = n, n
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
	whole, err := w.checkGroups(p, n)
	if err != nil {
		return err
	}
	for i := whole + 1; i <= n; i++ { // nobody was told of them; the next check wants them
		if _, err := p.do("SADD", fmt.Sprint("s", w.id), fmt.Sprint(i)); err != nil {
			return err
		}
	}
	w.acked, w.attempted = whole, n
	return nil
}

// checkGroups looks at what commands write at once. n is the number of the last pipeline that has begun to be there; that of the last one of which
// there is all but the move is returned.
func (w *writer) checkGroups(p *peer, n int) (whole int, err error) {
	pair := func(args ...string) (a, b int, err error) {
		r, err := p.do(args...)
		fmt.Sscanf(r, "*2\r\n$%d\r\n%d\r\n$%d\r\n%d\r\n", new(int), &a, new(int), &b) // none are 0
		return a, b, err
	}
	id := fmt.Sprint(w.id)
	a, b, err1 := pair("HMGET", "h"+id, "a", "b")
	x, y, err2 := pair("MGET", "x"+id, "y"+id)
	t, err3 := p.do("GET", "t"+id)
	u, err4 := p.do("HGET", "u"+id, "f")
	if err := errors.Join(err3, err4); err != nil || t != u || number(t) < w.acked || number(t) > x {
		return 0, fmt.Errorf("writer %d: a transaction wrote %q and %q, %v; want equal ones from %d to %d", w.id, t, u, err, w.acked, x)
	}
	if err := errors.Join(err1, err2); err != nil || a != b || a < w.acked || a > n || x != y || x < w.acked || x > a {
		return 0, fmt.Errorf("writer %d: HSET wrote %d and %d, MSET %d and %d, %v; want equal ones from %d to %d", w.id, a, b, x, y, err, w.acked, n)
	}
	for i := max(1, w.acked-kept+2); i <= w.acked; i++ {
		if r, err := p.do("SISMEMBER", "s"+id, fmt.Sprint(i)); r != ":1\r\n" {
			return 0, fmt.Errorf("writer %d: number %d of %d is not in the set: %q, %v", w.id, i, w.acked, r, err)
		}
	}
	if err := w.checkOrder(p, n); err != nil {
		return 0, err
	}
	var found []int
	for i := w.moved; i <= w.attempted; i++ {
		if r, err := p.do("HLEN", fmt.Sprint("m", id, ":", i)); err != nil {
			return 0, err
		} else if r == ":2\r\n" {
			found = append(found, i)
		}
	}
	if len(found) > 1 || len(found) == 0 && w.moved > 0 {
		return 0, fmt.Errorf("writer %d: the hash that RENAME moves has the numbers %d, want one from %d to %d", w.id, found, w.moved, w.attempted)
	}
	if w.moved = 0; len(found) > 0 {
		w.moved = found[0]
	}
	return number(t), nil
}

// checkOrder looks at the list, whose elements are in one of two keys each, and at the scores, and completes the list.
func (w *writer) checkOrder(p *peer, n int) error {
	r, err := p.do("ZMSCORE", fmt.Sprint("z", w.id), "a", "b")
	var a, b int
	fmt.Sscanf(r, "*2\r\n$%d\r\n%d\r\n$%d\r\n%d\r\n", new(int), &a, new(int), &b)
	if err != nil || a != b || a < w.acked || a > n {
		return fmt.Errorf("writer %d: ZADD wrote %d and %d, %v; want equal ones from %d to %d", w.id, a, b, err, w.acked, n)
	}
	var all []int
	for _, key := range []string{"o", "l"} {
		r, err := p.do("LRANGE", fmt.Sprint(key, w.id), "0", "-1")
		if err != nil {
			return err
		}
		for i, line := range strings.Split(r, "\r\n") {
			if i > 0 && i%2 == 0 {
				all = append(all, atoi(line))
			}
		}
	}
	for i, number := range all {
		if i > 0 && number != all[i-1]+1 || number > n {
			return fmt.Errorf("writer %d: the list has %d, want numbers one after the other, at most %d", w.id, all, n)
		}
	}
	if w.acked > 0 && (len(all) == 0 || all[len(all)-1] < w.acked || all[0] > max(1, all[len(all)-1]-kept+1)) {
		return fmt.Errorf("writer %d: the list has %d, want it to have %d, and %d before the last", w.id, all, w.acked, kept-1)
	}
	again := []string{"RPUSH", fmt.Sprint("o", w.id)}
	for i := max(1, n-kept+1); i <= n; i++ {
		again = append(again, fmt.Sprint(i))
	}
	if _, err := p.do("DEL", fmt.Sprint("o", w.id), fmt.Sprint("l", w.id)); err != nil || n == 0 {
		return err
	}
	_, err = p.do(again...)
	return err
}

func atoi(digits string) int {
	n, _ := strconv.Atoi(digits) // 0 is none of the numbers
	return n
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
		n += w.attempted
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
