package rundir

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func at(t *testing.T) string {
	t.Helper()
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	return filepath.Join(runtime, "usui")
}

func mustListen(t *testing.T, name string) net.Listener {
	t.Helper()
	l, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.(*listener).UnixListener.Close() })
	return l
}

func TestAMachineIsFoundAndAnswers(t *testing.T) {
	dir := at(t)
	if list, err := Names(); err != nil || list != nil {
		t.Errorf("Names() = %q, %v before there was one", list, err)
	}
	l := mustListen(t, "web-1")
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "I am "+r.URL.Path) })}
	go server.Serve(l)
	defer server.Close()
	mustListen(t, "a.b")
	if list, err := Names(); err != nil || !slices.Equal(list, []string{"a.b", "web-1"}) {
		t.Errorf("Names() = %q, %v", list, err)
	}
	c, err := Client("web-1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get("http://machine/here")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "I am /here" {
		t.Errorf("body %q, %v", body, err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, dir + "/web-1.sock": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s is %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	l.Close()
	if list, err := Names(); err != nil || !slices.Equal(list, []string{"a.b"}) {
		t.Errorf("Names() = %q, %v after a Close", list, err)
	}
}

func TestANameHasOneMachine(t *testing.T) {
	at(t)
	first := mustListen(t, "x")
	if _, err := Listen("x"); !errors.Is(err, ErrTaken) {
		t.Errorf("Listen = %v, want %v", err, ErrTaken)
	}
	first.Close()
	killed := mustListen(t, "x")
	killed.(*listener).UnixListener.Close()
	second := mustListen(t, "x")
	for range 2 {
		if err := second.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
}

func TestHammerOneName(t *testing.T) {
	at(t)
	var all sync.WaitGroup
	var have, most atomic.Int32
	for range 4 {
		all.Go(func() {
			for i := range 50 {
				l, err := Listen("x")
				if err != nil {
					continue
				}
				if n := have.Add(1); n > 1 {
					most.Store(n)
				}
				have.Add(-1)
				if i%5 == 0 {
					l.(*listener).UnixListener.Close() // as if it was killed
				} else if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 1 {
		t.Errorf("%d had the name at once", most.Load())
	}
}

func TestRefuses(t *testing.T) {
	dir := at(t)
	for _, name := range []string{"", ".", "..", "a/b", "-x", ".x", "a b", "ä", strings.Repeat("x", 65)} {
		if _, err := Listen(name); err == nil {
			t.Errorf("Listen(%q) succeeded", name)
		}
		if _, err := Client(name); err == nil {
			t.Errorf("Client(%q) succeeded", name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("x"); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("Listen in a folder that others may enter = %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	if _, err := Listen("x"); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("Listen below a long path = %v", err)
	}
}
