package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"usui/host/need"
)

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
	h := testHost(t)
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
	h := testHost(t)
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
	h := testHost(t)
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
	h := testHost(t)
	h.anyCounter = true
	for _, c := range Cases() {
		if c.op == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
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
