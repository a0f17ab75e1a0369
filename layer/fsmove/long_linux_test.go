//go:build long

package fsmove

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/migration"
)

// TestLongFilesAreAsTheirModels does what TestFilesAreAsTheirModels does for longer.
func TestLongFilesAreAsTheirModels(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { exercise(t, 100+seed, 1_000_000, 40) })
	}
}

// TestLongKills kills processes 500 times: the worker, which clients do not notice, and now and then the keeper with it, after which the same call goes on.
func TestLongKills(t *testing.T) {
	const kills = 500
	src, _, at := paths(t)
	base := sow(t, src, 3000, 20_000)
	random := rand.New(rand.NewPCG(5, 5))
	moves, ends := 0, 0
	for n := 0; n < kills; moves++ {
		dst, want := t.TempDir(), maps.Clone(base)
		for arrived := false; !arrived; ends++ {
			v := startKept(t, src, dst, at)
			for range 1 + random.IntN(8) {
				n++
				useSome(t, at, random, base, want, n)
				v.kill(t)
			}
			useSome(t, at, random, base, want, -ends-1)
			_, s := v.ask(t)
			if arrived = s.Phase == control.Arrived; arrived {
				v.end(t)
				break
			}
			n++
			v.killAll(t)
		}
		look(t, dst, want)
		if err := errors.Join(unix.Unmount(at, 0), os.RemoveAll(dst)); err != nil {
			t.Fatal(err)
		}
	}
	t.Attr("moves", fmt.Sprintf("%d, and %d processes without a keeper", moves, ends))
}

// useSome reads some of the files, writes one and changes one.
func useSome(t *testing.T, at string, random *rand.Rand, base, want map[string][]byte, n int) {
	t.Helper()
	for range random.IntN(10) {
		i := random.IntN(len(base))
		name := fmt.Sprintf("d%d/e%d/f%d", i%7, i%3, i)
		if got, err := os.ReadFile(filepath.Join(at, name)); err != nil || !bytes.Equal(got, want[name]) {
			t.Errorf("%s has %d bytes, want %d, %v", name, len(got), len(want[name]), err)
		}
	}
	name := fmt.Sprint("written", n)
	want[name] = fmt.Append(nil, "by client ", n)
	i := random.IntN(len(base))
	changed := fmt.Sprintf("d%d/e%d/f%d", i%7, i%3, i)
	p := bytes.Clone(want[changed])
	if len(p) > 0 {
		p[len(p)/2]++
	}
	want[changed] = p
	f, err := os.OpenFile(filepath.Join(at, changed), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(p) > 0 {
		_, err = f.WriteAt(p[len(p)/2:len(p)/2+1], int64(len(p)/2))
	}
	if err := errors.Join(err, os.WriteFile(filepath.Join(at, name), want[name], 0o644)); err != nil {
		t.Fatal(err)
	}
}

// killAll kills the keeper and the worker, and takes away what they leave.
func (v *keptMove) killAll(t *testing.T) {
	t.Helper()
	if err := errors.Join(v.Process.Kill(), unix.Kill(v.worker, unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	<-v.ended // it says that it was killed, and nobody has its output any more
	for unix.Unmount(v.at, unix.MNT_DETACH) == nil {
	}
}

// TestLongUsrIsMovedWithACompilationInIt moves /usr, in which Go's own formatter is built meanwhile with all that it takes from the mount.
func TestLongUsrIsMovedWithACompilationInIt(t *testing.T) {
	_, dst, at := paths(t)
	const src = "/usr"
	goroot, err := exec.Command(need.Tool(t, "go", "golang-go"), "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := manifest(t, src, nil)
	v := startKept(t, src, dst, at)
	home, own := strings.TrimSpace(string(goroot)), "client"
	if err := os.Mkdir(filepath.Join(at, own), 0o755); err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(src, home); err == nil && !strings.HasPrefix(rel, "..") {
		home = filepath.Join(at, rel)
	} else {
		inside := filepath.Join(at, own, "go")
		if out, err := exec.Command("cp", "-a", home, inside).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v, %s", err, out)
		}
		home = inside
	}
	built := make(chan error, 1)
	go func() { // until it is built
		c := exec.CommandContext(t.Context(), filepath.Join(home, "bin/go"), "build", "-o", filepath.Join(at, own, "gofmt"), "cmd/gofmt")
		c.Env = append(os.Environ(), "GOROOT="+home, "GOCACHE="+filepath.Join(at, own, "cache"), "GOTMPDIR="+filepath.Join(at, own), "GOFLAGS=", "GOTOOLCHAIN=local")
		c.Dir = filepath.Join(home, "src")
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w, %s", err, out)
		}
		built <- err
	}()
	v.kill(t)
	if err := <-built; err != nil {
		t.Errorf("the compilation: %v", err)
	}
	v.awaitAll(t)
	v.end(t)
	if out, err := exec.Command(filepath.Join(dst, own, "gofmt"), "-l", filepath.Join(home, "src/fmt")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("what was built says %s, %v", out, err)
	}
	got := manifest(t, dst, func(name string) bool { return name == own })
	got[""], want[""] = "", "" // the compilation has changed the top
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestLongAMillionFilesTakeLittleMemory moves that many, with a process that is killed in the middle, and says what clients notice of the switches, beside how long the last passes of
// rsync and of rclone take, for which they would have to stop.
func TestLongAMillionFilesTakeLittleMemory(t *testing.T) { million(t, 1000, 1000, 300<<20) }

func million(t *testing.T, folders, files int, most uint64) {
	rsync, rclone := need.Tool(t, "rsync", "rsync"), need.Tool(t, "rclone", "rclone")
	at, dst, src := paths(t)
	var names []string
	if err := os.Mkdir(filepath.Join(at, "beat"), 0o755); err != nil {
		t.Fatal(err)
	}
	for d := range folders {
		dir := filepath.Join(at, fmt.Sprint("d", d))
		names = append(names, fmt.Sprintf("d%d/f%d", d, d%files))
		err := os.Mkdir(dir, 0o755)
		for f := range files {
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprint("f", f)), []byte{byte(d), byte(f)}, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(at, src, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(src, unix.MNT_DETACH) // of which a failure tells
	clients := gather(at, names)
	clients.fence.Lock()
	v := startKept(t, src, dst, at)
	clients.fence.Unlock()
	noticed(t, "start", clients)
	peak := uint64(0)
	for killed := false; ; <-time.After(100 * time.Millisecond) { // to ask all the time would cost what it needs
		_, s := v.ask(t)
		peak = max(peak, resident(t, v.worker))
		if s.Phase == control.Arrived {
			break
		}
		if !killed && s.FoldersWaiting == 0 && s.FilesFetched > uint64(folders*files/2) {
			killed = true
			began := time.Now()
			v.kill(t)
			if _, err := os.ReadFile(filepath.Join(at, "d7/f7")); err != nil {
				t.Error(err)
			}
			t.Attr("restart", fmt.Sprint(time.Since(began)))
		}
	}
	t.Attr("memory", fmt.Sprintf("%d MiB", peak>>20))
	if peak > most {
		t.Errorf("the process had %d MiB in memory, want at most %d", peak>>20, most>>20)
	}
	clients = gather(at, names)
	v.end(t)
	noticed(t, "end", clients)
	if _, err := os.Lstat(filepath.Join(dst, migration.StateFolder)); err == nil {
		t.Error("the migration's state is still there")
	}
	for d := range folders {
		all, err := os.ReadDir(filepath.Join(dst, fmt.Sprint("d", d)))
		if err != nil || len(all) != files {
			t.Errorf("folder %d has %d files, want %d, %v", d, len(all), files, err)
		}
		for f := range files {
			if got, err := os.ReadFile(filepath.Join(dst, fmt.Sprintf("d%d/f%d", d, f))); err != nil || !bytes.Equal(got, []byte{byte(d), byte(f)}) {
				t.Fatalf("file %d of folder %d has %q, %v", f, d, got, err)
			}
		}
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	t.Attr("rsync", fmt.Sprint(run(t, rsync, "-aHAX", "--delete", src+"/", dst)))
	t.Attr("rclone", fmt.Sprint(run(t, rclone, "sync", "--metadata", "--links", src, dst)))
}

// noticed says what clients have noticed.
func noticed(t *testing.T, when string, c *crowd) {
	t.Helper()
	gaps, failed := c.leave()
	if failed > 0 {
		t.Errorf("%s: %d calls failed", when, failed)
	}
	t.Attr(when, fmt.Sprintf("%v at most, median %v", slices.Max(gaps), median(gaps)))
}

// resident is the most that a process has had in memory.
func resident(t *testing.T, pid int) uint64 {
	t.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		kib := uint64(0)
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("nothing says how much process %d has in memory", pid)
	return 0
}
