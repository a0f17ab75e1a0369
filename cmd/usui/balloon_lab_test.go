package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	hostneed "usui/host/need"
	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/guestmem"
)

// shell is a guest whose shell does what it is told.
type shell struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// startShell boots the default guest in this process and waits for its shell. The test's end waits for the machine's.
func startShell(t *testing.T, o *runOptions) *shell {
	t.Helper()
	o.cpus, o.guest, o.args, o.init = 1, "cloud", []string{"sh"}, "../../bin/usui-init"
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	s := &shell{t, in, bufio.NewReader(out)}
	ctx, stop := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("the guest hangs"))
	var machine sync.WaitGroup
	var stderr bytes.Buffer
	machine.Go(func() {
		env := &cli.Env{Stdin: stdin, Stdout: stdout, Stderr: &stderr}
		if err := o.here(ctx, env, newEvents(env, false)); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the machine ended: %v\n%s", err, stderr.Bytes())
		}
		stdin.Close() // what the test still has to say, nobody hears
		stdout.Close()
	})
	t.Cleanup(func() {
		in.Close()
		out.Close()
		machine.Wait()
		stop()
	})
	if got := s.do("echo up"); got != "up" {
		t.Fatalf("the shell says %q, want up", got)
	}
	return s
}

// do runs a line and returns its last line of output.
func (s *shell) do(line string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"; echo; echo done\n"); err != nil {
		s.t.Fatal(err)
	}
	last := ""
	for {
		got, err := s.out.ReadString('\n')
		switch got = strings.TrimSpace(got); {
		case got == "done":
			return last
		case err != nil:
			s.t.Fatalf("%q: %v", line, err)
		case got != "":
			last = got
		}
	}
}

// guestOnHost is how much of the guest's memory is resident: of this process, only that is shared.
func guestOnHost(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("RssShmem:"))
	kib, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// until waits for something in the guest, asking it for statistics between two looks: that keeps it going and the test from spinning.
func (s *shell) until(o *runOptions, what string, is func() bool) {
	s.t.Helper()
	for !is() {
		if _, err := o.balloon.device.GuestStats(s.t.Context()); err != nil {
			s.t.Fatalf("waiting for %s: %v; %+v, %d MiB on the host", what, err, o.balloon.device.Stats(), guestOnHost(s.t)>>20)
		}
	}
}

// TestLabBalloonTakesAndGivesBack moves the target of a guest up and down.
func TestLabBalloonTakesAndGivesBack(t *testing.T) {
	hostneed.Lab(t, lab.KVM)
	const size = 128 << 20
	o := &runOptions{memory: 384 << 20}
	if err := o.balloon.set("on,reporting=off"); err != nil { // so that only the balloon gives back
		t.Fatal(err)
	}
	s := startShell(t, o)
	d := o.balloon.device
	// All that the guest can spare has been touched once.
	const use = "dd if=/dev/zero of=/tmp/f bs=1M count=200 2>/dev/null; rm /tmp/f"
	s.do(use)
	full := guestOnHost(t)
	free := func() int64 {
		stats, err := d.GuestStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return int64(stats.FreeBytes)
	}
	before := free()
	if before < size+32<<20 {
		t.Fatalf("the guest says that %d MiB are free, want more than the balloon takes", before>>20)
	}
	for range 2 {
		if err := d.SetTarget(size); err != nil {
			t.Fatal(err)
		}
		s.until(o, "the balloon to inflate", func() bool { return d.Actual() == size })
		taken := guestOnHost(t)
		if fell := full - taken; fell < size*9/10 || fell > size*11/10 {
			t.Errorf("a balloon of %d MiB took %d MiB from the host's resident set, of %d", size>>20, fell>>20, full>>20)
		}
		if fell := before - free(); fell < size*9/10 {
			t.Errorf("a balloon of %d MiB took %d MiB from what is free in the guest", size>>20, fell>>20)
		}
		if err := d.SetTarget(0); err != nil {
			t.Fatal(err)
		}
		s.until(o, "the balloon to deflate", func() bool { return d.Actual() == 0 })
		s.do(use)
		if back := guestOnHost(t) - taken; back < size*8/10 {
			t.Errorf("%d MiB came back to the guest when it used them, of %d MiB", back>>20, size>>20)
		}
	}
	stats := d.Stats()
	t.Logf("%+v; %d bytes a release", stats, stats.ReleasedBytes/stats.Releases)
	if stats.Errors != 0 || stats.Outside != 0 || stats.ReleasedBytes < 2*size || stats.Releases > stats.ReleasedBytes/(16<<10) {
		t.Errorf("Stats = %+v, want no fault, and releases of many pages", stats)
	}
}

// TestLabFreePagesGoBackToTheHost has the guest write a file into its memory and remove it.
func TestLabFreePagesGoBackToTheHost(t *testing.T) {
	hostneed.Lab(t, lab.KVM)
	const size = 160 << 20
	o := &runOptions{memory: 384 << 20}
	if err := o.balloon.set("64M,stats=1s"); err != nil {
		t.Fatal(err)
	}
	s := startShell(t, o)
	d := o.balloon.device
	s.until(o, "the balloon to inflate", func() bool { return d.Actual() == 64<<20 })
	before := guestOnHost(t)
	s.do("dd if=/dev/zero of=/tmp/f bs=1M count=160 2>/dev/null")
	used := guestOnHost(t)
	if used-before < size*9/10 {
		t.Errorf("a file of %d MiB took %d MiB of the host", size>>20, (used-before)>>20)
	}
	s.do("rm /tmp/f")
	s.until(o, "free pages to be reported", func() bool { return used-guestOnHost(t) > size*9/10 })
	stats := d.Stats()
	t.Logf("%d MiB on the host before the file, %d with it, %d after; %+v", before>>20, used>>20, guestOnHost(t)>>20, stats)
	if stats.Errors != 0 || stats.ReportedBytes < size*9/10 {
		t.Errorf("Stats = %+v", stats)
	}
	if got := s.do("echo still here"); got != "still here" {
		t.Errorf("the guest says %q", got)
	}
}

// hintedBytes counts.
type hintedBytes struct {
	mu sync.Mutex
	n  uint64 // guarded by mu
}

func (h *hintedBytes) Unused(r guestmem.Range) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += r.Size
}

// TestLabHintsNameTheFreePages asks a stock kernel what it does not use, twice.
func TestLabHintsNameTheFreePages(t *testing.T) {
	hostneed.Lab(t, lab.KVM)
	o := &runOptions{memory: 384 << 20}
	if err := o.balloon.set("on"); err != nil {
		t.Fatal(err)
	}
	s := startShell(t, o)
	d := o.balloon.device
	for range 2 {
		stats, err := d.GuestStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var heard hintedBytes
		if err := d.Hint(t.Context(), &heard); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d MiB hinted of %d MiB that are free", heard.n>>20, stats.FreeBytes>>20)
		if heard.n < stats.FreeBytes/2 || heard.n > stats.FreeBytes {
			t.Errorf("%d bytes hinted, want most of the %d that are free", heard.n, stats.FreeBytes)
		}
		d.ReturnHinted()
		s.until(o, "the hinted pages to return", func() bool {
			now, err := d.GuestStats(t.Context()) // the last ones may be from before the hints
			return err == nil && now.FreeBytes > stats.FreeBytes*9/10
		})
	}
}

// TestLabHugePages boots a guest on the lab's huge pages, and takes some of them from it.
func TestLabHugePages(t *testing.T) {
	const pages = 128
	hostneed.LabHugePages(t, pages, lab.KVM)
	o := &runOptions{memory: pages * guestmem.HugePageSize, huge: hugePagesPart{on: true}}
	if err := o.balloon.set("on,reporting=on"); err != nil {
		t.Fatal(err)
	}
	s := startShell(t, o)
	if got := s.do("head -1 /proc/meminfo"); !strings.HasPrefix(got, "MemTotal:") {
		t.Errorf("the guest says %q", got)
	}
	d := o.balloon.device
	s.do("dd if=/dev/zero of=/tmp/f bs=1M count=96 2>/dev/null")
	if got := residentBytes(); got < 96<<20 {
		t.Errorf("%d MiB resident by usui top's count, want those of the guest among them", got>>20)
	}
	s.do("rm /tmp/f")
	s.until(o, "free pages to be reported", func() bool { return d.Stats().ReportedBytes > 96<<20 })
	if err := d.SetTarget(64 << 20); err != nil {
		t.Fatal(err)
	}
	s.until(o, "the balloon to inflate", func() bool { return d.Actual() == 64<<20 })
	s.do("dd if=/dev/zero of=/tmp/f bs=1M count=64 2>/dev/null; rm /tmp/f")
	if stats := d.Stats(); stats.Errors != 0 || stats.ReleasedBytes < stats.ReportedBytes {
		t.Errorf("Stats = %+v, want what was reported released, and whole huge pages of the balloon", stats)
	} else {
		t.Logf("%+v", stats)
	}
}
