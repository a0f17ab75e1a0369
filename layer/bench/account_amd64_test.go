package bench

import (
	"context"
	"math"
	"strings"
	"testing"

	"usui/host/need"
)

func TestWrongCountIsAnError(t *testing.T) {
	need.KVM(t)
	for what, change := range map[string]func(*recipe){
		"exits to user space": func(r *recipe) { r.user = exactly(2) },
		"an operation, want":  func(r *recipe) { r.instructions, r.exits = 2, exactly(3) },
	} {
		c := find(t, "port-out-user")
		change(&c.recipe)
		cfg := short()
		cfg.Cases = []Case{c}
		r, err := Run(context.Background(), cfg)
		if err == nil || !strings.Contains(err.Error(), "port-out-user: ") || !strings.Contains(err.Error(), what) || len(r.Rows) != 0 {
			t.Errorf("Run() = %d rows, %v, want no row and an error with %q", len(r.Rows), err, what)
		}
	}
}

// TestSleeperThatIsNotWokenIsAnError has an operation that leaves the other vCPU asleep.
func TestSleeperThatIsNotWokenIsAnError(t *testing.T) {
	need.KVM(t)
	c := Case{"quiet", "test", "wakes nobody", ipi(c1Halts, true)}
	c.op, c.instructions, c.exits = func(c code) { c.Cpuid() }, 1, exactly(1)
	cfg := short()
	cfg.Cases = []Case{c}
	if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), " wake-ups an operation, want 1") {
		t.Errorf("Run() = %v, want that nobody was woken", err)
	}
}

// TestLabSmallPagesAreNoHugePages has small pages where touch-2m wants huge ones, and the other way round.
func TestLabSmallPagesAreNoHugePages(t *testing.T) {
	need.HardwareKVM(t)
	small, large := find(t, "touch-2m"), find(t, "touch-4k")
	small.extra = func(r *rig) error { return r.addTouched((huge + 1) * hugeBytes) }
	large.extra = func(r *rig) error { return r.addHuge(touched*pageBytes + hugeBytes) }
	cfg := short()
	cfg.Cases = []Case{small, large}
	rows := run(t, cfg)
	for name, want := range map[string]string{"touch-2m": "the host gave no huge pages: 2.", "touch-4k": "the host's pages are not of 4 KiB: 0."} {
		if got := rows[name].NA; !strings.HasPrefix(got, want) {
			t.Errorf("%s: n/a is %q, want %q and more; %d samples", name, got, want, rows[name].Samples)
		}
	}
}

func TestReportHasTheBoundsOfACount(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Cases = []Case{find(t, "port-out-user"), find(t, "self-ipi")}
	rows := run(t, cfg)
	if got := rows["port-out-user"]; got.ExitsLeast != 1 || got.ExitsMost == nil || *got.ExitsMost != 1 {
		t.Errorf("port-out-user: want %v to %v, want 1 to 1", got.ExitsLeast, got.ExitsMost)
	}
	h := testHost(t)
	want := find(t, "self-ipi").exits
	if h.software {
		want = find(t, "self-ipi").emulated()
	}
	got := rows["self-ipi"]
	if got.ExitsLeast != want.low || math.IsInf(want.high, 1) != (got.ExitsMost == nil) || got.ExitsMost != nil && *got.ExitsMost != want.high {
		t.Errorf("self-ipi: %v to %v, want %v", got.ExitsLeast, got.ExitsMost, want)
	}
}

func TestLostInterruptIsAnError(t *testing.T) {
	need.KVM(t)
	c := find(t, "cpuid")
	c.handled = true
	cfg := short()
	cfg.Cases = []Case{c}
	if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "but 0 interrupts were handled") {
		t.Errorf("Run() = %v, want that no interrupt was handled", err)
	}
}
