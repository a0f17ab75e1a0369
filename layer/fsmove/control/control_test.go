package control

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake is a move that does as it is told, and says what it was told.
type fake struct {
	status Status
	told   chan string
	fails  error
}

func (f *fake) Status() Status { return f.status }

func (f *fake) Pause(paused bool) error { f.told <- fmt.Sprint("pause ", paused); return f.fails }

func (f *fake) Abort(context.Context) error { f.told <- "abort"; return f.fails }

func (f *fake) Finish(ctx context.Context, how Consent) error {
	f.told <- fmt.Sprintf("finish %s %t", how.Verify, how.Skipped)
	if errors.Is(f.fails, context.Canceled) { // as long as who asks waits
		<-ctx.Done()
		f.told <- "taken back"
	}
	return f.fails
}

func serveFake(t *testing.T) *fake {
	t.Helper()
	t.Setenv("USUI_FSMOVE_RUN", filepath.Join(t.TempDir(), "run"))
	dir := t.TempDir()
	f := &fake{told: make(chan string, 10), status: Status{
		Source: filepath.Join(dir, "old"), Destination: filepath.Join(dir, "new"), MountPoint: filepath.Join(dir, "at"), Phase: Moving, PID: 1, FilesWaiting: 3, BytesWaiting: 3 << 20,
		Failures: []Failure{{Path: "a\nb", Reason: "it has changed", Tries: 2}}, Skipped: []Failure{{Path: "c", Reason: "too long"}}, MoreSkip: 7,
	}}
	s, err := Serve(f, f.status.MountPoint, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return f
}

// command runs one as a user does.
func command(t *testing.T, ctx context.Context, name string, args ...string) (string, error) {
	t.Helper()
	for _, c := range Commands() {
		if c.Name != name {
			continue
		}
		f := flag.NewFlagSet(name, flag.ContinueOnError)
		run := c.Setup(f)
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		var out, err strings.Builder
		e := run(ctx, &environment{Stdout: &out, Stderr: &err}, f.Args())
		return out.String(), e
	}
	t.Fatalf("no command %s", name)
	return "", nil
}

func TestAMoveIsFoundByAnyOfItsDirectories(t *testing.T) {
	f := serveFake(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Mkdir(f.status.Source, 0o755), os.Symlink(f.status.Source, link)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{f.status.Source, f.status.Destination, f.status.MountPoint, f.status.MountPoint + "/", link} {
		if _, s, err := Find(t.Context(), dir); err != nil || s.MountPoint != f.status.MountPoint {
			t.Errorf("Find(%s) = %+v, %v", dir, s, err)
		}
	}
	if _, _, err := Find(t.Context(), t.TempDir()); !errors.Is(err, ErrNone) {
		t.Errorf("Find of another = %v, want %v", err, ErrNone)
	}
	if _, err := Serve(f, f.status.MountPoint, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrTaken) {
		t.Errorf("a second move at the mount point: %v, want %v", err, ErrTaken)
	}
}

func TestAMoveIsTold(t *testing.T) {
	f := serveFake(t)
	at := f.status.MountPoint
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"pause", []string{at}, "pause true"}, {"abort", []string{at}, "abort"}, {"finish", []string{at}, "finish full false"},
		{"finish", []string{"--verify", "none", "--accept-skipped", at}, "finish none true"},
	} {
		if _, err := command(t, t.Context(), c.name, c.args...); err != nil {
			t.Errorf("%s %q: %v", c.name, c.args, err)
		}
		if got := <-f.told; got != c.want {
			t.Errorf("%s %q: it was told %q, want %q", c.name, c.args, got, c.want)
		}
	}
	f.fails = errors.New("it cannot")
	for _, name := range []string{"pause", "abort", "finish"} {
		if _, err := command(t, t.Context(), name, at); err == nil || err.Error() != "it cannot" {
			t.Errorf("%s of one that cannot = %v", name, err)
		}
		<-f.told
	}
	for _, args := range [][]string{{}, {at, at}} {
		if _, err := command(t, t.Context(), "pause", args...); err == nil {
			t.Errorf("pause %q succeeded", args)
		}
	}
	if _, err := command(t, t.Context(), "finish", "--verify", "some", at); err == nil {
		t.Error("finish --verify some succeeded")
	}
}

// TestFinishIsTakenBack interrupts who waits.
func TestFinishIsTakenBack(t *testing.T) {
	f := serveFake(t)
	f.fails = context.Canceled
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := command(t, ctx, "finish", f.status.MountPoint); done <- err }()
	<-f.told
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("finish = %v, want %v", err, context.Canceled)
	}
	if got := <-f.told; got != "taken back" {
		t.Errorf("the move was told %q", got)
	}
}

func TestStatusTellsAll(t *testing.T) {
	f := serveFake(t)
	out, err := command(t, t.Context(), "status")
	for _, want := range []string{f.status.Source, "3 files (3.0 MiB) wait", `"a\nb"`, "it has changed", "too long", "and 7 more", "abort"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("status has no %q, %v:\n%s", want, err, out)
		}
	}
	out, err = command(t, t.Context(), "status", "--json", f.status.Destination)
	var s Status
	if err := errors.Join(err, json.Unmarshal([]byte(out), &s)); err != nil || s.FilesWaiting != 3 || len(s.Failures) != 1 {
		t.Errorf("status --json = %q, %v", out, err)
	}
	t.Setenv("USUI_FSMOVE_RUN", filepath.Join(t.TempDir(), "run"))
	if out, err := command(t, t.Context(), "status"); err != nil || !strings.Contains(out, "no move") {
		t.Errorf("status without any = %q, %v", out, err)
	}
}

func TestHowLongItTakes(t *testing.T) {
	at := time.Unix(1000, 0)
	status := func(pid int, files, bytes, left uint64) Status {
		return Status{PID: pid, Started: at, FilesFetched: files, BytesFetched: bytes, FilesWaiting: left / 10, BytesWaiting: left}
	}
	for _, c := range []struct {
		before, now Status
		want        time.Duration
		ok          bool
	}{
		{status(1, 0, 0, 1000), status(1, 10, 100, 900), 18 * time.Second, true},
		{status(1, 0, 0, 1000), status(1, 10, 0, 900), 18 * time.Second, true}, // empty ones
		{status(1, 0, 0, 1000), status(1, 0, 0, 1000), 0, false},
		{status(1, 0, 0, 1000), status(2, 10, 100, 900), 0, false}, // another process
	} {
		p := Between(c.before, c.now, 2*time.Second)
		if (p.Left != nil) != c.ok || c.ok && *p.Left != c.want {
			t.Errorf("Between(%+v, %+v) = %v, want %v, %t", c.before, c.now, p.Left, c.want, c.ok)
		}
	}
}
