package kvm_test

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// boot assembles a guest that runs as a kernel does and makes it, on a thread of the test's own.
func boot(t testing.TB, cfg tinyguest.Config, emit func(a *tinyguest.Asm)) *tinyguest.Guest {
	t.Helper()
	need.KVM(t)
	a := tinyguest.NewAsm(kernelMode)
	emit(a)
	var err error
	if cfg.Program, err = a.Program(); err != nil {
		t.Fatal(err)
	}
	g, err := tinyguest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	t.Cleanup(func() {
		runtime.UnlockOSThread()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// patience is how long a guest may take for its next exit before the test calls it hung.
const patience = 30 * time.Second

// runTo runs the vCPU to its next exit and fails when that is another. A guest that hangs is kicked, which is another.
func runTo(t testing.TB, v *kvm.VCPU, want kvm.ExitReason) {
	t.Helper()
	hung := time.AfterFunc(patience, v.Kick)
	defer hung.Stop()
	got, err := v.Run()
	if err != nil || got != want {
		t.Fatalf("Run() = %v, %v, want %v; at %#x", got, err, want, at(v))
	}
}

// hammer runs v while some goroutines kick it, each a number of times and each time until its kick has been observed:
// until Run returned ExitKicked after the kick had begun. It fails when a kick is not observed, when ExitKicked comes
// without a kick, and at exits that also does not know.
func hammer(t *testing.T, v *kvm.VCPU, kickers, rounds int, also func(kvm.ExitReason) bool) {
	t.Helper()
	waiting := make([]atomic.Bool, kickers)
	var kicks, lost atomic.Int64
	var left atomic.Int32
	var kicking sync.WaitGroup
	left.Store(int32(kickers))
	for i := range waiting {
		kicking.Go(func() {
			defer func() {
				left.Add(-1)
				v.Kick() // so that the loop below looks at left
			}()
			for range rounds {
				waiting[i].Store(true)
				kicks.Add(1)
				deadline := time.Now().Add(patience)
				v.Kick()
				for waiting[i].Load() {
					if time.Now().After(deadline) {
						lost.Add(1)
						return
					}
					runtime.Gosched()
				}
			}
		})
	}
	observed := int64(0)
	for i := 0; left.Load() > 0; i++ {
		if i%2 == 0 { // takes no kick away
			if err := v.Complete(); err != nil {
				t.Fatal(err)
			}
		}
		switch reason, err := v.Run(); {
		case err != nil:
			t.Fatalf("Run() = %v, %v", reason, err)
		case reason == kvm.ExitKicked:
			observed++
			for i := range waiting {
				waiting[i].Store(false)
			}
		case !also(reason):
			t.Fatalf("Run() = %v", reason)
		}
	}
	kicking.Wait()
	v.Kick() // the kickers' last ones may be observed already or not: bring it to an end that is known
	for reason := kvm.ExitUnknown; reason != kvm.ExitKicked; {
		var err error
		if reason, err = v.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if n := lost.Load(); n > 0 {
		t.Errorf("%d kicks of %d not observed", n, kicks.Load())
	}
	if limit := kicks.Load() + int64(kickers); observed > limit {
		t.Errorf("%d times ExitKicked for %d kicks", observed, limit)
	}
}

// disturb sends the signal that Go's scheduler and Kick use to this thread until the returned function is called, and
// lets the garbage collector run.
func disturb(t *testing.T) (stop func()) {
	var stopped atomic.Bool
	var disturbing sync.WaitGroup
	thread := unix.Gettid() // of the vCPU: boot has locked the test to it
	disturbing.Go(func() {
		for n := 0; !stopped.Load(); n++ {
			if err := unix.Tgkill(os.Getpid(), thread, unix.SIGURG); err != nil {
				t.Error(err)
				return
			}
			if n%1000 == 0 {
				runtime.GC()
			}
			runtime.Gosched()
		}
	})
	return func() {
		stopped.Store(true)
		disturbing.Wait()
	}
}
