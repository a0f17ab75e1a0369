package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// serverEnv has TestServe serve: a directory, and where it is mounted, with a colon between them.
const serverEnv = "USUI_FSMOVE_SERVE"

// TestServe is no test: it is the process of a file server.
func TestServe(t *testing.T) {
	dir, at, ok := strings.Cut(os.Getenv(serverEnv), ":")
	if !ok {
		return
	}
	root, err := gofs.NewLoopbackRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gofs.Mount(at, root, &gofs.Options{MountOptions: fuse.MountOptions{AllowOther: true, DirectMountStrict: true}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("mounted")
	s.Wait()
}

// server is a process that serves a directory.
type server struct {
	*exec.Cmd
	dir, at string
}

func serve(t *testing.T, dir string) *server {
	t.Helper()
	need.Root(t)
	need.FUSE(t)
	s := &server{dir: dir, at: t.TempDir()}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Cmd = exec.Command(self, "-test.run=^TestServe$")
	s.Env = append(os.Environ(), serverEnv+"="+s.dir+":"+s.at)
	s.Stderr = os.Stderr
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("the server says %q, %v", line, err)
	}
}

// crash ends the server and leaves its mount, which is dead from then on.
func (s *server) crash(t *testing.T) {
	t.Helper()
	if err := s.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	s.Wait() // says that it was killed
}

// stop ends the server and its mount: the directory in which it was is left.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.crash(t)
	for unix.Unmount(s.at, unix.MNT_DETACH) == nil {
	}
}

// hang has the server answer nothing any more, until goOn.
func (s *server) hang(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(s.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() { // the last of its threads has stopped
		t.Fatalf("the server is to be stopped: %v, %#x", err, status)
	}
}

func (s *server) goOn(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// awayFrom begins a migration from a server.
func awayFrom(t *testing.T, s *server, timeout time.Duration) (m *migration.Migration, dst string) {
	t.Helper()
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	dst = t.TempDir()
	m, err := migration.New(migration.Config{Source: s.at, Destination: dst, Timeout: timeout, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, dst
}

// entry uses a file of the destination, whose folder is listed before.
func entry(t *testing.T, m *migration.Migration, name string) *migration.File {
	t.Helper()
	h, err := tree.HandleOf(m.Destination().Fd(), "")
	if err == nil {
		err = m.List(t.Context(), h)
	}
	if err == nil {
		h, err = tree.HandleOf(m.Destination().Fd(), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := m.Use(h)
	if err != nil || f == nil {
		t.Fatalf("Use = %v, %v", f, err)
	}
	t.Cleanup(f.Release)
	return f
}

// reading reads a part of a file in a goroutine, and gives its error.
func reading(ctx context.Context, f *migration.File, off int64, want []byte) <-chan error {
	done := make(chan error, 1)
	go func() { // until there is an answer
		p := make([]byte, len(want))
		n, err := f.Read(ctx, p, off)
		if err == nil && !bytes.Equal(p[:n], want) {
			err = fmt.Errorf("%d bytes at %d are not those of the source", n, off)
		}
		done <- err
	}()
	return done
}

// until waits for the migration to say that its source is away, or back.
func awaitAway(m *migration.Migration, away bool) {
	for tick := time.NewTicker(time.Millisecond); m.Stats().Away.IsZero() == away; <-tick.C {
	}
}

// TestASourceThatIsAwayIsWaitedFor has a server crash, its mount go, and another one come.
func TestASourceThatIsAwayIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	data := content(4<<20, 1)
	err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), data, 0o644), os.Mkdir(filepath.Join(dir, "folder"), 0o755),
		os.WriteFile(filepath.Join(dir, "folder/other"), data[:100], 0o644))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	m, dst := awayFrom(t, s, 0)
	f := entry(t, m, "file")
	if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
		t.Fatal(err)
	}
	s.crash(t)
	waiting := []<-chan error{reading(t.Context(), f, 2<<20, data[2<<20:3<<20]), reading(t.Context(), f, 3<<20, data[3<<20:])}
	listed := make(chan error, 1)
	h, err := tree.HandleOf(m.Destination().Fd(), "folder")
	if err != nil {
		t.Fatal(err)
	}
	go func() { listed <- m.List(t.Context(), h) }()
	ran := make(chan error, 1)
	awaitAway(m, true)
	go func() { ran <- m.Run(t.Context()) }()

	// What is here already is had, and what a client does by itself is done.
	if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
		t.Errorf("what was fetched before the source went: %v", err)
	}
	if err := f.WillWrite(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := f.Write(t.Context(), bytes.Repeat([]byte("w"), 4096), 1<<20); n != 4096 || err != nil {
		t.Errorf("Write of a block when the source is away = %d, %v", n, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	interrupted := reading(stopped, f, 2<<20, nil)
	stop()
	if err := <-interrupted; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("who does not want to wait gets %v, want %v", err, context.Canceled)
	}

	s.stop(t) // now there is an empty directory in its place
	if err := m.Stats(); err.Away.IsZero() {
		t.Error("the directory below a mount that went is taken for the source")
	}
	for _, w := range append(waiting, listed, ran) {
		select {
		case err := <-w:
			t.Errorf("without the source there is an answer: %v", err)
		default:
		}
	}
	s.start(t)
	for _, w := range append(waiting, listed, ran) {
		if err := <-w; err != nil {
			t.Errorf("when the source is back: %v", err)
		}
	}
	copy(data[1<<20:], bytes.Repeat([]byte("w"), 4096))
	for name, want := range map[string][]byte{"file": data, "folder/other": data[:100]} {
		if got, err := os.ReadFile(filepath.Join(dst, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	if !m.Stats().Away.IsZero() {
		t.Error("the source is back, and counts as away")
	}
}

// TestASourceThatComesAndGoes has a server crash again and again while everything is read and moved.
func TestASourceThatComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{}
	for i := range 60 {
		name := fmt.Sprintf("d%d/f%d", i%4, i)
		want[name] = content(i*20_000+1, byte(i))
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), want[name], 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, dir)
	m, dst := awayFrom(t, s, 0)
	for range 6 {
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { // until stop, or until everything has arrived
			if err := m.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		for tick := time.NewTicker(time.Millisecond); m.Stats().Calls == 0 && m.Stats().Away.IsZero() && m.Stats().FilesFilled < 60; <-tick.C {
		}
		s.stop(t)
		stop()
		all.Wait()
		s.start(t)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, p := range want {
		if got, err := os.ReadFile(filepath.Join(dst, name)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s has %d bytes, %v; want %d", name, len(got), err, len(p))
		}
	}
	for loss, err := range m.Skipped() {
		t.Errorf("left out: %q, %v", loss, err)
	}
}

// TestWhoWaitsTooLongGetsAnError has a server that is dead, and one that hangs.
func TestWhoWaitsTooLongGetsAnError(t *testing.T) {
	for what, cut := range map[string]func(*server, *testing.T){
		"dead":  (*server).crash,
		"hangs": (*server).hang,
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			data := content(2<<20, 1)
			if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			s := serve(t, dir)
			m, _ := awayFrom(t, s, 200*time.Millisecond)
			f := entry(t, m, "file")
			if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
				t.Fatal(err)
			}
			cut(s, t)
			for range 3 {
				if err := <-reading(t.Context(), f, 1<<20, data[1<<20:]); !errors.Is(err, migration.ErrAway) || !errors.As(err, new(*migration.SourceError)) {
					t.Errorf("Read when the source is away = %v, want %v", err, migration.ErrAway)
				}
			}
			if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
				t.Errorf("what was fetched before the source went: %v", err)
			}
			if what == "hangs" {
				s.goOn(t)
			} else {
				s.stop(t)
				s.start(t)
			}
			awaitAway(m, false)
			if err := <-reading(t.Context(), f, 1<<20, data[1<<20:]); err != nil {
				t.Errorf("when the source is back: %v", err)
			}
		})
	}
}

// TestACallThatHangsIsLeft has a client give up waiting for a server that hangs.
func TestACallThatHangsIsLeft(t *testing.T) {
	dir := t.TempDir()
	data := content(2<<20, 1)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	m, _ := awayFrom(t, s, 0)
	f := entry(t, m, "file")
	s.hang(t)
	ctx, stop := context.WithCancel(t.Context())
	first := reading(ctx, f, 0, data[:1000])
	stop()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("Read that is interrupted = %v, want %v", err, context.Canceled)
	}
	second := reading(t.Context(), f, 0, data)
	s.goOn(t)
	if err := <-second; err != nil {
		t.Errorf("when the source is back: %v", err)
	}
}

// waiting is a client that reads a file of a server that hangs.
func waiting(t *testing.T) (*server, *move, *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), content(1000, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	v := begin(t, s.at)
	if _, err := os.Stat(filepath.Join(v.at, "file")); err != nil {
		t.Fatal(err)
	}
	s.hang(t)
	client := exec.Command("cat", filepath.Join(v.at, "file"))
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	for tick := time.NewTicker(time.Millisecond); v.Stats().Calls == 0; <-tick.C { // until it waits for the server
	}
	return s, v, client
}

// TestAClientThatIsKilledIsGone kills one that waits for a server that hangs: the kernel lets it go when its request is answered.
func TestAClientThatIsKilledIsGone(t *testing.T) {
	s, _, client := waiting(t)
	if err := client.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	client.Wait() // says that it was killed
	s.goOn(t)
}

// TestAStopDoesNotWaitForTheSource ends a mount while a client waits for a server that hangs.
func TestAStopDoesNotWaitForTheSource(t *testing.T) {
	s, v, client := waiting(t)
	if err := v.mount.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := client.Wait(); err == nil {
		t.Error("the client got what it wanted")
	}
	v.unmount() // waits for the end of Serve
	s.goOn(t)
}

// TestAProcessMayBeStartedWithoutItsSource has what was copied before, with a source that is not mounted, and one that hangs.
func TestAProcessMayBeStartedWithoutItsSource(t *testing.T) {
	t.Run("not mounted", func(t *testing.T) { startedWithout(t, (*server).stop, (*server).start) })
	t.Run("hangs", func(t *testing.T) { startedWithout(t, (*server).hang, (*server).goOn) })
}

func startedWithout(t *testing.T, cut, mend func(*server, *testing.T)) {
	dir := t.TempDir()
	data := content(2<<20, 1)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	m, dst := awayFrom(t, s, 0)
	f := entry(t, m, "file")
	if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	cut(s, t)
	m, err := migration.New(migration.Config{Source: s.at, Destination: dst, Timeout: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() // nothing depends on it
	if m.Stats().Away.IsZero() {
		t.Error("what does not answer, or is empty, is taken for the source")
	}
	f = entry(t, m, "file")
	if err := <-reading(t.Context(), f, 0, data[:1000]); err != nil {
		t.Errorf("what was fetched before: %v", err)
	}
	mend(s, t)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "file")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("it has %d bytes, %v; want %d", len(got), err, len(data))
	}
}

// TestClientsThatWaitTakeLittleMemory has many wait for a server that hangs: half a MiB for each would be the end of a machine.
func TestClientsThatWaitTakeLittleMemory(t *testing.T) {
	const clients, most = 300, 64 << 10
	dir := t.TempDir()
	for i := range clients {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), content(1000, byte(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, dir)
	v := begin(t, s.at)
	if _, err := os.ReadDir(v.at); err != nil {
		t.Fatal(err)
	}
	s.hang(t)
	before := heap()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { // until the server goes on
			if got, err := os.ReadFile(filepath.Join(v.at, fmt.Sprint("file", i))); err != nil || !bytes.Equal(got, content(1000, byte(i))) {
				t.Errorf("file%d has %d bytes, %v", i, len(got), err)
			}
		})
	}
	for tick := time.NewTicker(time.Millisecond); v.mount.fs.left() < clients; <-tick.C { // until each waits
	}
	if grown := heap() - before; grown > clients*most {
		t.Errorf("%d clients that wait take %d KiB each, want at most %d", clients, grown/clients>>10, most>>10)
	}
	s.goOn(t)
	all.Wait()
}

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
