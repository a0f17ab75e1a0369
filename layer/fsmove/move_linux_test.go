package fsmove

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// moveEnv has the child move: source, destination and mount point, with colons between them.
const moveEnv = "USUI_FSMOVE_MOVE"

// TestMain lets this binary be the process that moves.
func TestMain(m *testing.M) {
	if paths := os.Getenv(moveEnv); paths != "" {
		if err := move(strings.Split(paths, ":")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if keeper.Worker() {
		if err := worker(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if paths := os.Getenv(keepEnv); paths != "" {
		status, err := kept(strings.Split(paths, ":"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func move(paths []string) error {
	v, err := New(Config{Source: paths[0], Destination: paths[1], MountPoint: paths[2], Finish: &control.Consent{Verify: control.None}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil { // clients come first
		return fmt.Errorf("%q, %w", line, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return v.Run(ctx)
}

// mover is a process that moves.
type mover struct {
	*exec.Cmd
	stdin io.WriteCloser
	at    string
	stuck chan struct{} // closed when it says that it cannot move something
	once  sync.Once
}

// Write takes what it logs.
func (v *mover) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("could not be moved")) {
		v.once.Do(func() { close(v.stuck) })
	}
	return os.Stderr.Write(p)
}

func startMove(t *testing.T, src, dst, at string) *mover {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &mover{Cmd: exec.Command(self), at: at, stuck: make(chan struct{})}
	v.Env = append(os.Environ(), moveEnv+"="+src+":"+dst+":"+at)
	v.Stderr = v
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
	t.Cleanup(func() {
		v.Process.Kill()
		v.Wait()
		for unix.Unmount(at, unix.MNT_DETACH) == nil { // what it has left
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	go func() { io.Copy(os.Stderr, out) }() // until it ends
	return v
}

// run has it answer, and move.
func (v *mover) run(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(v.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
}

// paths are three folders on one file system that has what a destination needs.
func paths(t testing.TB) (src, dst, at string) {
	t.Helper()
	need.Root(t)
	need.FUSE(t)
	return t.TempDir(), t.TempDir(), t.TempDir()
}

// sow makes files of random content, shorter than most, and returns it by name.
func sow(t testing.TB, dir string, n, most int) map[string][]byte {
	t.Helper()
	random, all := rand.New(rand.NewPCG(1, 1)), map[string][]byte{}
	source := rand.NewChaCha8([32]byte{1})
	for i := range n {
		name := fmt.Sprintf("d%d/e%d/f%d", i%7, i%3, i)
		p := make([]byte, random.IntN(most))
		_, _ = source.Read(p) // never fails
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, p, 0o644)); err != nil {
			t.Fatal(err)
		}
		all[name] = p
	}
	return all
}

// look compares what is at a place with what is expected.
func look(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		got, err := os.ReadFile(path)
		if p, ok := want[name]; err == nil && (!ok || !bytes.Equal(got, p)) {
			t.Errorf("%s has %d bytes, want %d, and is expected: %t", name, len(got), len(p), ok)
		}
		found++
		return err
	})
	if err != nil || found != len(want) {
		t.Errorf("%d files, want %d, %v", found, len(want), err)
	}
}

// isFUSE says whether a path is on a mount of FUSE.
func isFUSE(t testing.TB, path string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.FUSE_SUPER_MAGIC
}

// TestClientsDoNotNoticeTheEndOfAMove has clients read and write through it, and finds plain files afterwards.
func TestClientsDoNotNoticeTheEndOfAMove(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 300, 200_000)
	v := startMove(t, src, dst, at)
	v.run(t)
	if !isFUSE(t, at) {
		t.Error("at first it is no mount of FUSE")
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	var clients sync.WaitGroup
	var over atomic.Bool
	written := make([]int, 4)
	for i := range written {
		clients.Go(func() { // until the move is over
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for !over.Load() {
				name := names[random.IntN(len(names))]
				got, err := os.ReadFile(filepath.Join(at, name))
				if err != nil || !bytes.Equal(got, want[name]) {
					t.Errorf("client %d: %s has %d bytes, want %d, %v", i, name, len(got), len(want[name]), err)
					return
				}
				if err := os.WriteFile(filepath.Join(at, fmt.Sprint("written", i)), fmt.Appendln(nil, written[i]+1), 0o644); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				written[i]++
			}
		})
	}
	err := v.Wait()
	over.Store(true)
	clients.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range written {
		if n == 0 {
			t.Errorf("client %d did nothing", i)
		}
		want[fmt.Sprint("written", i)] = fmt.Appendln(nil, n)
	}
	if isFUSE(t, at) {
		t.Error("at the end it is a mount of FUSE")
	}
	look(t, at, want)
	look(t, dst, want)
}

// TestAMoveGoesOnAfterAKill kills processes before everything has arrived, 25 in all, in as many moves as that takes.
func TestAMoveGoesOnAfterAKill(t *testing.T) {
	src, _, at := paths(t)
	base := sow(t, src, 1000, 20_000)
	random := rand.New(rand.NewPCG(3, 1))
	for kills := 0; kills < 25; {
		dst, want := t.TempDir(), maps.Clone(base)
		for arrived := false; !arrived; {
			name := fmt.Sprint("written", kills)
			v := startMove(t, src, dst, at)
			v.run(t)
			for range random.IntN(10) {
				n := random.IntN(1000)
				some := fmt.Sprintf("d%d/e%d/f%d", n%7, n%3, n)
				if got, err := os.ReadFile(filepath.Join(at, some)); err != nil || !bytes.Equal(got, want[some]) {
					t.Errorf("%s has %d bytes, want %d, %v", some, len(got), len(want[some]), err)
				}
			}
			want[name] = fmt.Append(nil, "by client ", kills)
			if err := os.WriteFile(filepath.Join(at, name), want[name], 0o644); err != nil {
				t.Fatal(err)
			}
			if err := v.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			v.Wait() // says that it was killed
			for unix.Unmount(at, unix.MNT_DETACH) == nil {
			}
			if _, err := os.Stat(filepath.Join(dst, migration.StateFolder)); err == nil {
				kills++
			} else {
				arrived = true
			}
		}
		if _, err := os.Stat(filepath.Join(dst, migration.StateFolder+".ended")); err == nil { // killed while it removed that
			_, err := migration.New(migration.Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)})
			if !errors.Is(err, migration.ErrEnded) {
				t.Errorf("to go on when all has ended = %v, want %v", err, migration.ErrEnded)
			}
		}
		look(t, dst, want)
	}
}

// TestClientsGoOnWhenSomethingCannotBeMoved has a file of the source change after it was listed.
func TestClientsGoOnWhenSomethingCannotBeMoved(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 50, 200_000)
	changed := filepath.Join(src, "changed")
	if err := os.WriteFile(changed, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := migration.New(migration.Config{Source: src, Destination: dst, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	top, err := tree.HandleOf(m.Destination().Fd(), "")
	if err := errors.Join(err, m.List(t.Context(), top), m.Close(), os.WriteFile(changed, []byte("and after"), 0o644)); err != nil {
		t.Fatal(err)
	}
	v := startMove(t, src, dst, at)
	v.run(t)
	<-v.stuck
	for name, p := range want {
		if got, err := os.ReadFile(filepath.Join(at, name)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s has %d bytes, want %d, %v", name, len(got), len(p), err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(at, "changed")); err == nil {
		t.Errorf("what changed has %q", got)
	}
	if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o644); err != nil {
		t.Error(err)
	}
	if err := v.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dst, migration.StateFolder)); err != nil {
		t.Errorf("the move has ended: %v", err)
	}
}

// TestAMoveThatIsInterruptedLeavesNoMount interrupts one of which a client has a file open: before everything has arrived, or when nothing but that file keeps it.
func TestAMoveThatIsInterruptedLeavesNoMount(t *testing.T) {
	src, dst, at := paths(t)
	want := sow(t, src, 300, 200_000)
	v := startMove(t, src, dst, at)
	v.run(t)
	open, err := os.Open(filepath.Join(at, "d1/e1/f1"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := v.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	v.Wait() // says that it was interrupted, if it had not moved everything
	if isFUSE(t, at) {
		t.Error("the mount is still there")
	}
	if _, err := os.Stat(filepath.Join(dst, migration.StateFolder)); err == nil {
		v := startMove(t, src, dst, at)
		v.run(t)
		if err := v.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	look(t, dst, want)
}

func TestDirectoriesInEachOtherAreRefused(t *testing.T) {
	for _, c := range []struct {
		src, dst, at string
		ok           bool
	}{
		{"/a", "/b", "/c", true}, {"/a", "/b", "/a", true}, {"/a", "/b", "/b", true}, {"/a", "/ab", "/abc", true}, {"/x/a", "/x/b", "/x", true},
		{"/a", "/a", "/c", false}, {"/a", "/a/b", "/c", false}, {"/a/b", "/a", "/c", false}, {"/a", "/b", "/a/c", false}, {"/a", "/b", "/b/c", false}, {"/", "/b", "/c", false},
	} {
		if err := apart(Config{Source: c.src, Destination: c.dst, MountPoint: c.at}); (err == nil) != c.ok {
			t.Errorf("from %s to %s at %s: %v, want it to be refused: %t", c.src, c.dst, c.at, err, !c.ok)
		}
	}
}
