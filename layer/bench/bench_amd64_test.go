package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"usui/host/need"
	"usui/layer/bench/report"
	"usui/machine/kvm"
)

// unavailableHere are the cases that a software KVM may not do. While it interprets a loop, it may take seconds to notice
// what another thread asks of the vCPU, so the cases of two parties are not certain there. Package kvm tests that no kick is
// lost.
var unavailableHere = []string{
	"hypercall", "syscall-ring3", "touch-4k", "touch-2m",
	"nested-cpuid", "nested-hypercall", "nested-port-out", "nested-port-in", "nested-msr-read", "nested-cr0-write", "nested-dr7-write",
	"ipi-running", "ipi-halted", "irqfd-running", "irqfd-halted", "msi-running", "kick-running",
}

// short measures each case for a moment.
func short() Config {
	return Config{Duration: 20 * time.Millisecond, Launches: 2, Patience: time.Second}
}

func run(t *testing.T, cfg Config) map[string]report.Row {
	t.Helper()
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]report.Row{}
	for _, row := range r.Rows {
		rows[row.Name] = row
	}
	return rows
}

// find returns the case of that name.
func find(t *testing.T, name string) Case {
	t.Helper()
	for _, c := range Cases() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %q", name)
	return Case{}
}

// wantRows wants a row for every case, and of those at most the ones in mayLack without samples. That the counts fit is
// Run's own assertion.
func wantRows(t *testing.T, rows map[string]report.Row, mayLack ...string) {
	t.Helper()
	measured := 0
	for _, c := range Cases() {
		row, found := rows[c.Name]
		if found && row.NA == "" {
			measured++
		}
		switch {
		case !found:
			t.Errorf("%s: no row", c.Name)
		case row.NA != "" && !slices.Contains(mayLack, c.Name):
			t.Errorf("%s: n/a: %s", c.Name, row.NA)
		case row.NA == "" && (len(row.Launches) != 2 || row.Samples < 2*leastKept || row.Method == "" || row.Halves == "" && row.ExitHalf == nil):
			t.Errorf("%s: row %+v, want two launches with samples, their method and halves or why not", c.Name, row)
		}
		if row.NA == "" && (row.Exits < 0 || row.ExitsMost != nil && row.ExitsLeast > *row.ExitsMost) {
			t.Errorf("%s: counted %v, from %v to %v", c.Name, row.Exits, row.ExitsLeast, row.ExitsMost)
		}
		for _, samples := range row.Launches {
			for _, s := range samples {
				if s < 0 || math.IsNaN(s) || math.IsInf(s, 0) {
					t.Fatalf("%s: a sample is %v", c.Name, s)
				}
			}
		}
		t.Logf("%-20s %12.1f ns %6d samples %-22s exits %.2f want %.2f %s", c.Name, row.Stats.P50.Value, row.Samples, row.Method, row.Exits, row.ExitsWant, row.NA)
	}
	if measured < 30 {
		t.Errorf("%d cases measured, want 30 and more", measured)
	}
}

func TestEveryCaseIsMeasuredOrSaysWhyNot(t *testing.T) {
	need.KVM(t)
	wantRows(t, run(t, short()), unavailableHere...)
}

// TestSetupIsNotMeasured wants that what an operation needs is subtracted, where a KVM counts instructions.
func TestSetupIsNotMeasured(t *testing.T) {
	need.KVM(t)
	h, err := openHost(short().withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	cfg := short()
	for _, name := range []string{"cpuid", "port-in-kernel", "port-out-kernel", "cr0-write", "cr4-write", "dirty-log-page"} {
		cfg.Cases = append(cfg.Cases, find(t, name))
	}
	for name, row := range run(t, cfg) {
		if h.software && math.Abs(row.Exits-1) > 0.1 {
			t.Errorf("%s: %v instructions an operation, want 1; n/a: %s", name, row.Exits, row.NA)
		}
	}
}

// TestLabCases is the same where a processor runs the guests. A host may have no huge pages to give, and no nesting.
func TestLabCases(t *testing.T) {
	need.HardwareKVM(t)
	cfg := short()
	cfg.Patience = 10 * time.Second // the lab is as slow as the host is busy
	mayLack := []string{"touch-2m"}
	for _, c := range Cases() {
		if c.Group == "nested" {
			mayLack = append(mayLack, c.Name)
		}
	}
	wantRows(t, run(t, cfg), mayLack...)
}

func TestNamesAndTextsOfCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] || c.Name == "" || c.Group == "" || c.Doc == "" || strings.ToLower(c.Name) != c.Name || strings.Contains(c.Name, " ") {
			t.Errorf("case %q of group %q, %q: want a new lower-case name without spaces, and both texts", c.Name, c.Group, c.Doc)
		}
		seen[c.Name] = true
	}
}

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
	if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "0.000 wake-ups an operation, want 1") {
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
	h, err := openHost(cfg.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
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

func TestHangIsNotAvailable(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Patience = 300 * time.Millisecond
	hang := func(c code) { c.Label(c.local("hang")); c.Jmp(c.local("hang")) }
	deaf := find(t, "irqfd-running")
	deaf.fire = func(*rig) (func() error, error) { return func() error { return nil }, nil }
	cfg.Cases = []Case{
		{"hang", "test", "never ends", recipe{op: hang}},
		{"deaf", "test", "hears nothing", deaf.recipe},
	}
	rows := run(t, cfg)
	if want := "the guest did not come back within 300ms"; rows["hang"].NA != want {
		t.Errorf("hang: n/a is %q, want %q", rows["hang"].NA, want)
	}
	if want := "the guest did not answer within 300ms"; rows["deaf"].NA != want {
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
	cfg := Config{Duration: time.Hour, Launches: 1, Patience: 100 * time.Millisecond, Cases: []Case{
		{"long", "test", "a batch that takes an hour", waits(func() { time.Sleep(50 * time.Millisecond) })},
		{"stuck", "test", "a call that does not return", waits(func() { <-over })},
	}}
	rows := run(t, cfg)
	if want := "not done within 100ms"; rows["long"].NA != want {
		t.Errorf("long: n/a is %q, want %q", rows["long"].NA, want)
	}
	if want := "a call did not return within 1.1s"; rows["stuck"].NA != want {
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

// allocating are the cases whose loop makes Go values, by package kvm: all else allocates nothing.
var allocating = []string{"save-restore-vcpu", "vm-create"}

func TestHotLoopAllocatesNothing(t *testing.T) {
	need.KVM(t)
	wantNoAllocations(t, unavailableHere...)
}

func TestLabHotLoopAllocatesNothing(t *testing.T) {
	need.HardwareKVM(t)
	wantNoAllocations(t)
}

// wantNoAllocations runs batches of all cases but some.
func wantNoAllocations(t *testing.T, except ...string) {
	h, err := openHost(Config{Patience: 10 * time.Second}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	for _, c := range Cases() {
		if slices.Contains(except, c.Name) {
			continue
		}
		var why unavailable
		switch n, err := allocations(h, c); {
		case errors.As(err, &why) && c.Group == "nested":
		case err != nil:
			t.Errorf("%s: %v", c.Name, err)
		case n != 0 && !slices.Contains(allocating, c.Name):
			t.Errorf("%s: batches of 4 operations allocate %v times, want 0", c.Name, n)
		case n == 0 && slices.Contains(allocating, c.Name):
			t.Errorf("%s: allocates nothing, and needs no exception", c.Name)
		}
	}
}

// allocations counts what a batch of each kind allocates. What is reset before, is no part of the loop.
func allocations(h *host, c Case) (n float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := newRig(context.Background(), h, c.recipe, time.NewTimer(0))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	work, empty, err := r.makeBatches()
	if err != nil {
		return 0, err
	}
	if err := r.doReset(); err != nil {
		return 0, err
	}
	r.reset = nil
	n = testing.AllocsPerRun(10, func() {
		_, errWork := work(4)
		_, errEmpty := empty(4)
		err = cmp.Or(err, errWork, errEmpty)
	})
	return n, err
}

// TestCallsDoWhatTheySay counts the descriptors that an operation makes or closes.
func TestCallsDoWhatTheySay(t *testing.T) {
	need.KVM(t)
	h, err := openHost(short().withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	for name, want := range map[string]map[string]int{
		"vcpu-create": {"kvm-vcpu": 1},
		"vm-close-8":  {"kvm-vcpu": -8, "kvm-vm": -1},
	} {
		r, err := newRig(context.Background(), h, find(t, name).recipe, time.NewTimer(0))
		if err != nil {
			t.Fatal(err)
		}
		operation, err := r.call(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.reset(r); err != nil {
			t.Fatal(err)
		}
		change := map[string]int{}
		countKVMFiles(t, change, -1)
		err = operation()
		countKVMFiles(t, change, 1)
		maps.DeleteFunc(change, func(_ string, n int) bool { return n == 0 })
		if err != nil || !maps.Equal(change, want) {
			t.Errorf("%s: descriptors %v, %v, want %v", name, change, err, want)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

// countKVMFiles adds n for each of this process's open descriptors of KVM, by kind.
func countKVMFiles(t *testing.T, kinds map[string]int, n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name()) // the one that reads the folder is gone
		if kind, found := strings.CutPrefix(target, "anon_inode:"); found {
			kind, _, _ = strings.Cut(kind, ":") // the number of a vCPU
			kinds[kind] += n
		}
	}
}

// TestEOIEndsWhatIsInService wants an interrupt less in service after each operation.
func TestEOIEndsWhatIsInService(t *testing.T) {
	need.KVM(t)
	h, err := openHost(short().withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := newRig(context.Background(), h, find(t, "eoi").recipe, time.NewTimer(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	const operations = 100
	if _, err := r.loop(operations); err != nil {
		t.Fatal(err)
	}
	state, err := r.cpu.LAPIC()
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, b := range state.Regs[0x100:0x180] {
		left += bits.OnesCount8(b)
	}
	if want := inService - operations; left != want {
		t.Errorf("%d interrupts are in service after %d ends of %d, want %d", left, operations, inService, want)
	}
}

// TestGuestCounter takes the guest's counter although it may trap here: what it measures is of no use then, but each
// operation is what it is in the other loop, and has its own sample and, where it comes to us, its halves.
func TestGuestCounter(t *testing.T) {
	need.KVM(t)
	h, err := openHost(short().withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	h.anyCounter = true
	for _, c := range Cases() {
		if c.op == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(context.Background(), time.Second)
			defer stop()
			got, done, err := stampedSamples(ctx, h, c)
			var why unavailable
			switch {
			case errors.As(err, &why) && slices.Contains(unavailableHere, c.Name):
				return
			case err != nil:
				t.Fatal(err)
			case len(got.samples) == 0 || uint64(len(got.samples)) != done:
				t.Errorf("%d samples of %d operations, want as many", len(got.samples), done)
			case got.halves == "" && (len(got.exit) != len(got.samples) || len(got.entry) != len(got.samples)):
				t.Errorf("%d samples have %d exits and %d entries", len(got.samples), len(got.exit), len(got.entry))
			case got.halves == "" && c.user != exactly(1):
				t.Errorf("has halves, although the kernel serves it")
			}
		})
	}
}

func stampedSamples(ctx context.Context, h *host, c Case) (_ launched, done uint64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := newRig(ctx, h, c.recipe, time.NewTimer(0))
	if err != nil {
		return launched{}, 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	counter, err := newCounter(r)
	if err != nil || counter == nil {
		return launched{}, 0, fmt.Errorf("newCounter() = %v, %w", counter, err)
	}
	got, err := counter.sample(2, time.Microsecond)
	return got, r.operations, err
}

// spinner is a case of the host that takes a known time, with the same noise each time.
func spinner(name string, d time.Duration) Case {
	return Case{name, "test", "waits for a known time", recipe{limit: 5, whole: true, call: func(*rig) (func() error, error) {
		noise := rand.New(rand.NewPCG(1, 2))
		return func() error {
			for begin, wait := time.Now(), d+time.Duration(noise.Int64N(int64(d/5))); time.Since(begin) < wait; {
			}
			return nil
		}, nil
	}}}
}

func TestCompareFindsTheSlowerCase(t *testing.T) {
	need.KVM(t)
	cfg := Config{Duration: 300 * time.Millisecond, Cases: []Case{
		spinner("short", 50*time.Microsecond), spinner("middle", 70*time.Microsecond), spinner("long", 90*time.Microsecond),
	}}
	measure := func(slow string) report.Report {
		cfg.slow = slow
		r, err := Run(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Where.Steal = 0 // others' load is none of this test's
		return r
	}
	before, after := measure(""), measure("middle")
	c, err := report.Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		want := report.Same
		if row.Name == "middle" {
			want = report.Slower
		}
		if row.Verdict != want {
			t.Errorf("%s is %s, want %s: %+v", row.Name, row.Verdict, want, row)
		}
	}
	if len(c.Rows) != 3 {
		t.Errorf("%d rows, want 3", len(c.Rows))
	}
	if c, err = report.Compare(before, before); err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		if row.Verdict != report.Same {
			t.Errorf("%s is %s than itself", row.Name, row.Verdict)
		}
	}
}

func TestCommandPrintsJSONThatReadsBack(t *testing.T) {
	need.KVM(t)
	cfg := short()
	cfg.Cases = []Case{find(t, "cpuid")}
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Read(&b); err != nil {
		t.Errorf("Read() of what Write wrote: %v", err)
	}
}
