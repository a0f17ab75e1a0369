package fsmove

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/survey"
)

// served is a source that a file server has.
type served struct {
	dir   string                             // of the server
	has   map[string][]byte                  // what it has already
	mount func(t *testing.T, dir, at string) // of a folder of the server
	plan  []string                           // what a plan says of it
}

// TestASourceOverSSHFSIsMoved has a source that gives files other inode numbers whenever the kernel has forgotten them, and all of them when it is mounted anew.
func TestASourceOverSSHFSIsMoved(t *testing.T) {
	moveServed(t, 300, served{t.TempDir(), nil, mountSSHFS, []string{"shows no attributes", "other numbers"}})
}

// moveServed moves a tree of n files that clients use, while the kernel forgets the source, the source is mounted anew, and the process is killed. It returns the destination.
func moveServed(t *testing.T, n int, s served) (dst string) {
	t.Helper()
	src, dst, at := paths(t)
	want := sow(t, s.dir, n, 400_000)
	whole := time.Unix(1_500_000_000, 0)
	for name := range want { // sftp tells of whole seconds
		if err := os.Chtimes(filepath.Join(s.dir, name), whole, whole); err != nil {
			t.Fatal(err)
		}
	}
	maps.Copy(want, s.has)
	s.mount(t, s.dir, src)
	s.checkPlan(t, src, dst)
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := c.Pause(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	i := 0
	for name := range want { // on demand, a part before each change
		switch i++; i {
		case n / 6, n / 2:
			forgetAll(t)
		case n / 3:
			if err := unix.Unmount(src, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			s.mount(t, s.dir, src)
		case n * 2 / 3:
			v.kill(t)
		}
		if err := sameFile(s.dir, at, name); err != nil {
			t.Fatalf("%v; without the move: %v", err, sameFile(s.dir, src, name))
		}
		if i == n*5/6 {
			break
		}
	}
	c, _ = v.ask(t)
	if err := c.Pause(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	v.awaitAll(t)
	if err := c.Finish(t.Context(), control.Consent{Verify: control.Full}); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	look(t, dst, want)
	for name := range want {
		if _, had := s.has[name]; had {
			continue
		}
		if m, err := os.Stat(filepath.Join(dst, name)); err != nil || !m.ModTime().Equal(whole) {
			t.Errorf("%s was modified at %v, %v; want %v", name, m.ModTime(), err, whole)
		}
	}
	return dst
}

// checkPlan looks for what a plan is to say.
func (s *served) checkPlan(t *testing.T, src, dst string) {
	t.Helper()
	plan, err := survey.Run(t.Context(), survey.Config{Source: src, Destination: dst})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range s.plan {
		if !slices.ContainsFunc(plan.Findings, func(f survey.Finding) bool { return strings.Contains(f.What, what) }) {
			t.Errorf("the plan has %+v, want one that says %q", plan.Findings, what)
		}
	}
}

// forgetAll has the kernel forget files that nobody has open.
func forgetAll(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
}

// mountSSHFS mounts a folder by sftp, until the test ends. The server is started for it, as sshd does.
func mountSSHFS(t *testing.T, dir, at string) {
	t.Helper()
	sshfs, server := need.Tool(t, "sshfs", "sshfs"), need.Tool(t, "sftp-server", "openssh-sftp-server")
	script := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+server+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(sshfs, "-o", "ssh_command="+script, "localhost:"+dir, at).CombinedOutput(); err != nil {
		t.Fatalf("sshfs: %v, %s", err, out)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(at, unix.MNT_DETACH) // an error says that the test has done so
	})
}
