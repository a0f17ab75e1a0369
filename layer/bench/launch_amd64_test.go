package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"usui/host/need"
	"usui/machine/kvm"
)

func TestHangIsNotAvailable(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Patience = time.Second
	hang := func(c code) { c.Label(c.local("hang")); c.Jmp(c.local("hang")) }
	deaf := find(t, "irqfd-running")
	deaf.fire = func(*rig) (func() error, error) { return func() error { return nil }, nil }
	cfg.Cases = []Case{
		{"hang", "test", "never ends", recipe{op: hang}},
		{"deaf", "test", "hears nothing", deaf.recipe},
	}
	rows := run(t, cfg)
	if want := "the guest did not come back within 1s"; rows["hang"].NA != want {
		t.Errorf("hang: n/a is %q, want %q", rows["hang"].NA, want)
	}
	if want := "the guest did not answer within 1s"; rows["deaf"].NA != want {
		t.Errorf("deaf: n/a is %q, want %q", rows["deaf"].NA, want)
	}
}

func TestBrokenGuestIsNotAvailable(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Cases = []Case{
		{"ud2", "test", "an exception", recipe{op: func(c code) { c.Ud2() }}},
		{"hlt", "test", "an exit that nobody expects", recipe{op: func(c code) { c.Hlt() }}},
		{"prepare", "test", "a machine that cannot be made", recipe{prepare: func(vm *kvm.VM) error { return vm.SetClock(&kvm.ClockData{Flags: 1 << 31}) }}},
	}
	rows := run(t, cfg)
	for name, want := range map[string]string{"ud2": "exception 6", "hlt": "KVM_EXIT_HLT", "prepare": "KVM_SET_CLOCK"} {
		if got := rows[name].NA; !strings.Contains(got, want) {
			t.Errorf("%s: n/a is %q, want %q in it", name, got, want)
		}
	}
}

func TestLackOfResourcesIsAnError(t *testing.T) {
	need.KVM(t)
	for _, lack := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EACCES, syscall.EPERM} {
		cfg := short()
		cfg.Cases = []Case{{"lack", "test", "a machine without it", recipe{prepare: func(*kvm.VM) error {
			return fmt.Errorf("prepare: %w", &kvm.Error{Ioctl: "KVM_CREATE_IRQCHIP", Errno: lack})
		}}}}
		if r, err := Run(context.Background(), cfg); !errors.Is(err, lack) || len(r.Rows) != 0 {
			t.Errorf("Run() = %d rows, %v, want the error %v", len(r.Rows), err, lack)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	need.KVM(t)
	ctx, cancel := context.WithCancel(context.Background())
	cfg := short()
	cfg.Duration, cfg.Patience = time.Hour, time.Hour
	cfg.Progress = func(Progress) { go cancel() }
	if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want %v", err, context.Canceled)
	}
}

// TestCallsEndInTime has operations of the host that take longer than any patience: one by one, and in one call that
// returns when the test is over.
func TestCallsEndInTime(t *testing.T) {
	need.KVM(t)
	over := make(chan struct{})
	defer close(over)
	waits := func(f func()) recipe {
		return recipe{call: func(*rig) (func() error, error) { return func() error { f(); return nil }, nil }, limit: 1 << 16, whole: true}
	}
	cfg := Config{Duration: time.Hour, Launches: 1, Patience: 500 * time.Millisecond, Cases: []Case{
		{"long", "test", "a batch that takes an hour", waits(func() { time.Sleep(50 * time.Millisecond) })},
		{"stuck", "test", "a call that does not return", waits(func() { <-over })},
	}}
	rows := run(t, cfg)
	if want := "not done within 500ms"; rows["long"].NA != want {
		t.Errorf("long: n/a is %q, want %q", rows["long"].NA, want)
	}
	if want := "a call did not return within 1.5s"; rows["stuck"].NA != want {
		t.Errorf("stuck: n/a is %q, want %q", rows["stuck"].NA, want)
	}
}

func TestSlowCallsHaveEnoughSamples(t *testing.T) {
	need.KVM(t)
	const once = 20 * time.Millisecond
	resets := 0
	slow := func(wait time.Duration) recipe {
		return recipe{limit: 1, whole: true, reset: func(*rig) error { resets++; return nil }, call: func(*rig) (func() error, error) {
			return func() error { time.Sleep(wait); return nil }, nil
		}}
	}
	rows := run(t, Config{Duration: 2 * time.Millisecond, Launches: 1, Cases: []Case{{"slow", "test", "longer than its time", slow(once)}}})
	if got := rows["slow"]; got.NA != "" || got.Samples != leastKept || resets != calibrations+leastKept {
		t.Errorf("%d samples, n/a %q, %d resets; want %d samples with a reset each, %d at first", got.Samples, got.NA, resets, leastKept, calibrations)
	}
	rows = run(t, Config{Duration: 2 * time.Millisecond, Launches: 1, Patience: 2 * once, Cases: []Case{{"slower", "test", "too long", slow(once)}}})
	if rows["slower"].NA == "" {
		t.Errorf("slower: %d samples, want that there is no time for them", rows["slower"].Samples)
	}
}

func TestInterruptEndsCalls(t *testing.T) {
	need.KVM(t)
	ctx, cancel := context.WithCancel(context.Background())
	cfg := Config{Duration: time.Hour, Launches: 1, Patience: time.Hour, Cases: []Case{
		{"calls", "test", "a batch that takes an hour", recipe{limit: 1 << 30, whole: true, call: func(*rig) (func() error, error) {
			return func() error { cancel(); time.Sleep(10 * time.Millisecond); return nil }, nil
		}}},
	}}
	if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want %v", err, context.Canceled)
	}
}

func TestWithoutKVM(t *testing.T) {
	_, err := Run(context.Background(), Config{Device: t.TempDir() + "/kvm"})
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Run() = %v, want one line that says which device is missing", err)
	}
	for _, device := range []string{t.TempDir() + "/kvm", "/dev/null"} {
		if _, err := Run(context.Background(), Config{Device: device}); err == nil || !strings.Contains(err.Error(), "usui doctor") {
			t.Errorf("Run() on %s = %v, want where to ask", device, err)
		}
	}
}
