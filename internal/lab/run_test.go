package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
)

func TestRun(t *testing.T) {
	cfg := fakeQEMU(t, "guest")
	cfg.Results, cfg.Scratch = t.TempDir(), true
	var verbose bytes.Buffer
	cfg.Verbose = &verbose
	t.Setenv("USUI_TEST_ENV", "from the host")
	var out strings.Builder
	status, err := Run(t.Context(), cfg, Command{Argv: []string{"cat", "a b"}}, attach.Stdio{Stdin: strings.NewReader("input"), Stdout: &out})
	if status != 7 || err != nil {
		t.Fatalf("Run = %d, %v, want 7", status, err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`argv ["cat" "a b"]`, "dir " + dir + "\n", "stdin input\n", "USUI_TEST_ENV=from the host\n",
		"USUI_LAB=kvm,iommu,nvme,ahci,e1000e,nvdimm\n", "USUI_RESULTS=/run/usui/results\n",
		`mount 9p "results"`, "file=/proc/self/fd/7", "mem-path=/proc/self/fd/9", cfg.CacheDir + "/lab/vmlinux-",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the guest was not asked for %q:\n%s", want, out.String())
		}
	}
	for _, want := range []string{"console of the fake", "prepared", "QEMU started", "kernel fake is up", "command started as process 42", "command ended"} {
		if !strings.Contains(verbose.String(), want) {
			t.Errorf("phases lack %q:\n%s", want, verbose.String())
		}
	}
}

func TestRunTellsWhyQEMURefused(t *testing.T) {
	_, err := Run(t.Context(), fakeQEMU(t, "refuses"), Command{Argv: []string{"true"}}, attach.Stdio{})
	var failure *Error
	if !errors.As(err, &failure) || !errors.Is(err, attach.ErrEnded) {
		t.Fatalf("Run = %v, want an *Error that wraps ErrEnded", err)
	}
	if !strings.Contains(err.Error(), `QEMU says: qemu: Failed to get "write" lock`) {
		t.Errorf("error = %v, want QEMU's words in it", err)
	}
}

func TestRunShowsTheConsoleOfAPanic(t *testing.T) {
	_, err := Run(t.Context(), fakeQEMU(t, "panics"), Command{Argv: []string{"true"}}, attach.Stdio{})
	var failure *Error
	if !errors.As(err, &failure) || failure.Console != "old line\nKernel panic - not syncing" {
		t.Errorf("Run = %#v, want the console without escape sequences", err)
	}
}

func TestRunEndsAHang(t *testing.T) {
	cfg := fakeQEMU(t, "hangs")
	cfg.Timeout = time.Second
	_, err := Run(t.Context(), cfg, Command{Argv: []string{"true"}}, attach.Stdio{})
	var failure *Error
	if !errors.As(err, &failure) || !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "did not come up within 1s") {
		t.Fatalf("Run = %v, want an *Error that wraps ErrTimeout", err)
	}
	if failure.QEMU != "" {
		t.Errorf("QEMU's words are given although we ended it: %s", failure.QEMU)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	cfg := fakeQEMU(t, "hangs")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() { // ends when the fake is up
		awaitPID(t)
		cancel(enough)
	}()
	_, err := Run(ctx, cfg, Command{Argv: []string{"true"}}, attach.Stdio{})
	var failure *Error
	if !errors.As(err, &failure) || !errors.Is(err, enough) {
		t.Fatalf("Run = %v, want one that wraps %v", err, enough)
	}
	if failure.Console != "booting\nstuck here" {
		t.Errorf("console = %q, want its last lines", failure.Console)
	}
	if pid := awaitPID(t); syscall.Kill(pid, 0) != syscall.ESRCH {
		t.Errorf("QEMU, process %d, is still there", pid)
	}
}

func TestSignalBeforeTheCommandEndsRun(t *testing.T) {
	cfg := fakeQEMU(t, "hangs")
	signals := make(chan os.Signal, 1)
	go func() { // ends when the fake is up
		awaitPID(t)
		signals <- syscall.SIGINT
	}()
	status, err := Run(t.Context(), cfg, Command{Argv: []string{"true"}}, attach.Stdio{Signals: signals})
	if status != 130 || err != nil {
		t.Errorf("Run = %d, %v, want 130", status, err)
	}
}

// A signal while the kernel is being fetched must not be kept for the command.
func TestSignalWhilePreparingEndsRun(t *testing.T) {
	cfg := fakeQEMU(t, "guest")
	if err := os.RemoveAll(filepath.Join(cfg.CacheDir, "debian/amd64")); err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv("PATH")
	pipe := filepath.Join(bin, "fetching")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(bin, "apt-get"), "#!/bin/sh\necho >"+pipe+"\nexec /bin/sleep 1000\n")
	if err := os.Chmod(filepath.Join(bin, "apt-get"), 0o755); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	go func() { // ends when apt-get is called
		if f, err := os.Open(pipe); err == nil {
			defer f.Close()
			_, _ = io.ReadAll(f)
		}
		signals <- syscall.SIGTERM
	}()
	status, err := Run(t.Context(), cfg, Command{Argv: []string{"true"}}, attach.Stdio{Signals: signals})
	if status != 143 || err != nil {
		t.Errorf("Run = %d, %v, want 143", status, err)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	fakeQEMU(t, "deaf")
	p, err := startProcess(filepath.Join(os.Getenv("PATH"), machines("amd64").program), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	awaitPID(t)
	p.grace = 10 * time.Millisecond
	p.stop()
	if got := fmt.Sprint(p.err); got != "signal: killed" {
		t.Errorf("QEMU ended with %s, want signal: killed", got)
	}
}

func TestQEMUDoesNotOutliveUs(t *testing.T) {
	fakeQEMU(t, "parent")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := awaitPID(t)
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The exit status is that of a killed process, which says nothing here.
	_ = parent.Wait()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 30_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Errorf("QEMU, process %d, outlived its parent: %v", pid, err)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return
	}
}

func TestQEMUIsNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for arch, want := range map[string]string{"amd64": "apt-get install qemu-system-x86", "arm64": "apt-get install qemu-system-arm"} {
		_, err := Run(t.Context(), Config{Arch: arch}, Command{Argv: []string{"true"}}, attach.Stdio{})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: Run = %v, want one that ends with %q", arch, err, want)
		}
	}
}

// awaitPID waits for a fake QEMU that hangs and returns its process id.
func awaitPID(t *testing.T) int {
	path := os.Getenv(pidVariable)
	for t.Context().Err() == nil {
		if text, err := os.ReadFile(path); err == nil {
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				t.Error(err)
			}
			return pid
		}
		awaitChange(t, filepath.Dir(path))
	}
	return -1
}

// awaitChange waits until a file is renamed in dir, at most a short time, for it may have been just before.
func awaitChange(t *testing.T, dir string) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		t.Error(err)
		return
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
}
