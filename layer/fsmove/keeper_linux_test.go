package fsmove

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/front"
	"usui/layer/fsmove/keeper"
)

// keepEnv has the child be a keeper: source, destination and mount point, with colons between them.
const keepEnv = "USUI_FSMOVE_KEEP"

// kept is a move that a keeper keeps going. Its log is the test's.
func kept(paths []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return keeper.Run(ctx, keeper.Config{
		Command: append([]string{self}, paths...), Source: paths[0], Destination: paths[1],
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// worker is what such a keeper starts.
func worker(paths []string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	seat, err := keeper.Inherit(stop)
	if err != nil {
		return err
	}
	v, err := New(Config{Source: paths[0], Destination: paths[1], MountPoint: paths[2], Seat: seat, Ready: func() { fmt.Println("ready", os.Getpid()) }, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return (&options{}).watch(ctx, os.Stdout, os.Stderr, v)
}

// keptMove is a running one.
type keptMove struct {
	*exec.Cmd
	at     string
	ready  chan int   // IDs of processes that can be asked
	ended  chan error // what the keeper says at its end
	worker int        // the last of those
}

func startKept(t testing.TB, src, dst, at string) *keptMove {
	t.Helper()
	t.Setenv("USUI_FSMOVE_RUN", filepath.Join(t.TempDir(), "run"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &keptMove{Cmd: exec.Command(self), at: at, ready: make(chan int), ended: make(chan error, 1)}
	v.Env = append(os.Environ(), keepEnv+"="+src+":"+dst+":"+at)
	v.Stderr = os.Stderr
	out, err := v.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // until the keeper ends
		for lines := bufio.NewScanner(out); lines.Scan(); {
			id := 0
			if _, err := fmt.Sscanf(lines.Text(), "ready %d", &id); err == nil {
				v.ready <- id
			} else {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
		close(v.ready)
		v.ended <- v.Wait()
	}()
	t.Cleanup(func() {
		v.Process.Signal(os.Interrupt) // an error says that it has ended
		for range v.ready {
		}
		for unix.Unmount(at, unix.MNT_DETACH) == nil { // what has taken its place
		}
	})
	v.await(t)
	return v
}

// await waits until a process can be asked.
func (v *keptMove) await(t testing.TB) {
	t.Helper()
	id, ok := <-v.ready
	if !ok {
		t.Fatalf("the keeper has ended: %v", <-v.ended)
	}
	v.worker = id
}

func (v *keptMove) ask(t testing.TB) (*control.Client, control.Status) {
	t.Helper()
	c, s, err := control.Find(t.Context(), v.at)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// awaitAll waits until everything has arrived.
func (v *keptMove) awaitAll(t testing.TB) {
	t.Helper()
	for ; ; <-time.After(50 * time.Millisecond) { // to ask all the time would cost what it needs
		_, s := v.ask(t)
		if len(s.Failures) > 0 {
			t.Fatalf("not everything arrives: %v", s.Failures)
		}
		if s.Phase == control.Arrived {
			return
		}
	}
}

// end has the destination take the mount's place.
func (v *keptMove) end(t testing.TB) {
	t.Helper()
	c, _ := v.ask(t)
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	if isFUSE(t, v.at) {
		t.Error("at the end it is a mount of FUSE")
	}
}

// kill kills the worker, and waits for the next one.
func (v *keptMove) kill(t testing.TB) {
	t.Helper()
	if err := unix.Kill(v.worker, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	v.await(t)
}

// TestClientsDoNotNoticeThatTheProcessIsKilled has clients do what cannot be done twice, while the process that serves them is killed again and again. No call fails, and nothing is lost.
func TestClientsDoNotNoticeThatTheProcessIsKilled(t *testing.T) {
	const kills = 25
	src, dst, at := paths(t)
	want := sow(t, src, 400, 100_000)
	v := startKept(t, src, dst, at)
	var clients sync.WaitGroup
	var over atomic.Bool
	steps := make(chan struct{}) // a client has done something
	rounds := make([]int, 4)
	for i := range rounds {
		clients.Go(func() { // until all kills are done
			for !over.Load() {
				if err := useOnce(filepath.Join(at, fmt.Sprint("client", i)), rounds[i], steps); err != nil {
					t.Errorf("client %d in round %d: %v", i, rounds[i], err)
					return
				}
				rounds[i]++
			}
		})
	}
	clients.Go(func() { // likewise
		random := rand.New(rand.NewPCG(7, 7))
		for !over.Load() {
			n := random.IntN(400)
			name := fmt.Sprintf("d%d/e%d/f%d", n%7, n%3, n)
			if got, err := os.ReadFile(filepath.Join(at, name)); err != nil || !bytes.Equal(got, want[name]) {
				t.Errorf("%s has %d bytes, want %d, %v", name, len(got), len(want[name]), err)
				return
			}
		}
	})
	idle := make(chan struct{})
	go func() { clients.Wait(); close(idle) }() // until they end
	for range kills {
		select {
		case <-steps: // each process has answered something
		case <-idle:
			t.FailNow()
		}
		v.kill(t)
	}
	over.Store(true)
	<-idle
	c, s := v.ask(t)
	if s.Restarts != kills {
		t.Errorf("%d processes were started again, want %d", s.Restarts, kills)
	}
	if s.OpenFiles != 0 {
		t.Errorf("%d files are open, and no client has one", s.OpenFiles)
	}
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	for i, n := range rounds {
		if n == 0 {
			t.Errorf("client %d did nothing", i)
		}
		want[fmt.Sprintf("client%d/last", i)] = fmt.Append(nil, n-1)
	}
	look(t, at, want)
	look(t, dst, want)
}

// useOnce makes, changes and removes things in a folder of a client's own. Each step would fail, or give something else, if it was done twice or not at all.
func useOnce(dir string, round int, steps chan<- struct{}) error {
	in := func(name string) string { return filepath.Join(dir, name) }
	if round == 0 {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	content := func(name string, want string) error {
		got, err := os.ReadFile(in(name))
		if err == nil && string(got) != want {
			err = fmt.Errorf("%s has %q, want %q", name, got, want)
		}
		return err
	}
	create := func(name, what string) error {
		f, err := os.OpenFile(in(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(what)
		return errors.Join(err, f.Sync(), f.Close())
	}
	absent := func(name string) error {
		if _, err := os.Lstat(in(name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there, %w", name, err)
		}
		return nil
	}
	for _, step := range []func() error{
		func() error { return create("a", "one") },
		func() error { return create("b", "two") },
		func() error {
			return unix.Renameat2(unix.AT_FDCWD, in("a"), unix.AT_FDCWD, in("b"), unix.RENAME_EXCHANGE)
		},
		func() error { return errors.Join(content("a", "two"), content("b", "one")) },
		func() error { return os.Rename(in("a"), in("c")) },
		func() error { return absent("a") },
		func() error { return os.Link(in("c"), in("a")) },
		func() error { return os.Symlink("c", in("s")) },
		func() error { return content("s", "two") },
		func() error { return os.Mkdir(in("d"), 0o700) },
		func() error { return unix.Mknod(in("d/fifo"), unix.S_IFIFO|0o600, 0) },
		func() error { return unix.Setxattr(in("c"), "user.x", []byte("value"), unix.XATTR_CREATE) },
		func() error { return unix.Removexattr(in("c"), "user.x") },
		func() error { return openWithoutName(in("b"), round) },
		func() error { return appendTo(in("log"), round) },
		func() error { return errors.Join(os.Remove(in("d/fifo")), os.Remove(in("d"))) },
		func() error { return errors.Join(os.Remove(in("s")), os.Remove(in("c")), os.Remove(in("a"))) },
		func() error { return errors.Join(absent("a"), absent("b"), absent("c"), absent("d"), absent("s")) },
		func() error { return os.Remove(in("log")) },
		func() error { return create("new", fmt.Sprint(round)) },
		func() error { return os.Rename(in("new"), in("last")) },
	} {
		if err := step(); err != nil {
			return err
		}
		select {
		case steps <- struct{}{}:
		default: // nobody waits for that
		}
	}
	return nil
}

// openWithoutName uses a file after its last name has gone: before and after an end of the process it is the same.
func openWithoutName(path string, round int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	for i := range 20 {
		p := binary.LittleEndian.AppendUint64(nil, uint64(round*100+i))
		if _, err := f.WriteAt(p, int64(8*i)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		got := make([]byte, 8*(i+1))
		if n, err := f.ReadAt(got, 0); err != nil {
			return fmt.Errorf("%d bytes of a file without a name: %w", n, err)
		}
		if !bytes.Equal(got[8*i:], p) {
			return errors.New("a file without a name has lost what was written")
		}
	}
	st, err := f.Stat()
	if err == nil && st.Size() != 160 {
		err = fmt.Errorf("a file without a name has %d bytes, want 160", st.Size())
	}
	return err
}

// appendTo adds lines to a file, each once.
func appendTo(path string, round int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var want strings.Builder
	for i := range 20 {
		line := fmt.Sprintf("%d.%d\n", round, i)
		want.WriteString(line)
		if _, err := f.WriteString(line); err != nil {
			return err
		}
	}
	got, err := os.ReadFile(path)
	if err == nil && string(got) != want.String() {
		err = fmt.Errorf("what was appended is %q, want %q", got, want.String())
	}
	return err
}

// TestTheMountMayHideSourceAndDestination has the mount where clients had the source, and another where the destination is, and kills the process.
func TestTheMountMayHideSourceAndDestination(t *testing.T) {
	for _, hides := range []string{"source", "destination"} {
		t.Run(hides, func(t *testing.T) {
			src, dst, _ := paths(t)
			want := sow(t, src, 100, 10_000)
			at := src
			if hides == "destination" {
				at = dst
			}
			v := startKept(t, src, dst, at)
			v.kill(t)
			look(t, at, want)
			c, _ := v.ask(t)
			if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
				t.Fatal(err)
			}
			if err := <-v.ended; err != nil {
				t.Error(err)
			}
			look(t, at, want)
			if isFUSE(t, at) {
				t.Error("at the end it is a mount of FUSE")
			}
		})
	}
}

// TestOnlyAMoveThatNobodyHasUsedIsGivenUp asks for that before and after a client has changed something, with a process that is killed between.
func TestOnlyAMoveThatNobodyHasUsedIsGivenUp(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 100, 10_000)
	v := startKept(t, src, dst, at)
	look(t, at, want)
	v.kill(t)
	c, _ := v.ask(t)
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	for _, dir := range []string{dst, at} {
		if all, err := os.ReadDir(dir); err != nil || len(all) != 0 {
			t.Errorf("%s has %v, %v; want it to be empty", dir, all, err)
		}
	}
	look(t, src, want)
	v = startKept(t, src, dst, at)
	if err := os.Chmod(filepath.Join(at, "d1"), 0o700); err != nil {
		t.Fatal(err)
	}
	v.kill(t)
	c, _ = v.ask(t)
	if err := c.Abort(t.Context()); err == nil || !strings.Contains(err.Error(), "rsync") {
		t.Errorf("Abort after a change = %v, want it to say how to go back", err)
	}
	look(t, at, want)
}

// TestAProcessThatIsKilledTooOftenIsGivenUp leaves no mount.
func TestAProcessThatIsKilledTooOftenIsGivenUp(t *testing.T) {
	need.Root(t)
	status, err := keeper.Run(t.Context(), keeper.Config{
		Command: []string{"/bin/sh", "-c", "kill -9 $$"}, Source: t.TempDir(), Destination: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		t.Errorf("Run = %d, %v; want an error", status, err)
	}
}

// TestAMoveEndsWithoutSomethingOnlyIfThatIsWanted has a name at the top that is a file system's own.
func TestAMoveEndsWithoutSomethingOnlyIfThatIsWanted(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 20, 20_000)
	if err := errors.Join(os.Mkdir(filepath.Join(src, "lost+found"), 0o755), os.WriteFile(filepath.Join(src, "lost+found/found"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := errors.Join(c.Pause(t.Context(), true), c.Finish(t.Context(), control.Consent{Verify: control.None}), c.Pause(t.Context(), false)); err == nil || !strings.Contains(err.Error(), "resume") {
		t.Errorf("Finish of a move that is paused = %v, want it to say what to do", err)
	}
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err == nil || !strings.Contains(err.Error(), "lost+found") {
		t.Errorf("Finish = %v, want it to name what was skipped", err)
	}
	look(t, at, want)
	if !isFUSE(t, at) {
		t.Error("the move ended without something")
	}
	if _, s := v.ask(t); len(s.Skipped) != 1 || s.Skipped[0].Path != "lost+found" {
		t.Errorf("skipped: %+v, want lost+found", s.Skipped)
	}
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None, Skipped: true}); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	if isFUSE(t, at) {
		t.Error("the move did not end without something")
	}
	look(t, at, want)
}

// TestWhatOthersMountStays has somebody take the mount away and mount something else there, while a client has a file open: that is still there when the move is stopped.
func TestWhatOthersMountStays(t *testing.T) {
	src, dst, at := paths(t)
	sow(t, src, 10, 1000)
	v := startKept(t, src, dst, at)
	open, err := os.Open(filepath.Join(at, "d1/e1/f1"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := errors.Join(unix.Unmount(at, unix.MNT_DETACH), unix.Mount("others", at, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	c, _ := v.ask(t)
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err == nil {
		t.Error("the destination was put beneath another's mount")
	}
	if err := v.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("at the mount point is a file system of type %#x, %v; want what others have mounted", st.Type, err)
	}
}

// TestASourceIsNotBaredByAStop has the mount where the source is: once clients have changed something they do not get the source instead when the move is stopped.
func TestASourceIsNotBaredByAStop(t *testing.T) {
	src, dst, _ := paths(t)
	want := sow(t, src, 10, 1000)
	v := startKept(t, src, dst, src)
	want["new"] = []byte("of a client")
	if err := os.WriteFile(filepath.Join(src, "new"), want["new"], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := v.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	if _, err := os.ReadDir(src); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("after the stop clients get %v, want %v", err, unix.ENOTCONN)
	}
	if err := front.TakeAway(src, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	v = startKept(t, src, dst, src)
	look(t, src, want)
	v.end(t)
	look(t, src, want)
}

// TestAMoveThatHasArrivedIsStopped stops one that waits to be finished, and goes on with it.
func TestAMoveThatHasArrivedIsStopped(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 50, 20_000)
	for range 2 {
		v := startKept(t, src, dst, at)
		v.awaitAll(t)
		if err := v.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		for range v.ready {
			t.Error("another process was started")
		}
		if err := <-v.ended; err != nil {
			t.Errorf("the keeper: %v", err)
		}
		if isFUSE(t, at) {
			t.Error("the mount is still there")
		}
	}
	startKept(t, src, dst, at).end(t)
	look(t, dst, want)
}

// TestAProcessIsKilledWhenItsMoveHasEnded kills the one that serves those who still have files open of before.
func TestAProcessIsKilledWhenItsMoveHasEnded(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 50, 20_000)
	v := startKept(t, src, dst, at)
	const name = "d1/e1/f1"
	f, err := os.Open(filepath.Join(at, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v.awaitAll(t)
	c, _ := v.ask(t)
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		v.kill(t)
		p := make([]byte, len(want[name]))
		if n, err := f.ReadAt(p, 0); n != len(p) || !bytes.Equal(p, want[name]) {
			t.Errorf("what was open has %d bytes, %v", n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range v.ready {
		t.Error("another process was started")
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	look(t, at, want)
}
