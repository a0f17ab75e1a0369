package kvm

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// The kernel leaves the guest at once when immediate_exit is set, and for a signal. Here there is no signal but those
// that come while Kick is at work and are not its own: whenever Kick is through, its request must have been taken, or
// immediate_exit must still be there to bring it to light. The window for a mistake is some nanoseconds wide, so
// both sides run without a guest between them.
func TestHammerKickWord(t *testing.T) {
	mem := make([]byte, 4096)
	v := &VCPU{mem: mem, run: runStateOf(mem)}
	const rounds = 5000
	var kicking, disturbing atomic.Bool // Kick is under way; signals come
	var through, looked atomic.Int32    // Kick is through for the nth time, and was looked at
	var lost, taken int
	var runner sync.WaitGroup
	runner.Go(func() { // as Run does
		for n := int32(1); n <= rounds; {
			for i := 1; kicking.Load(); i++ {
				if v.takeKick() {
					taken++
				}
				disturbing.Store(true)
				if i%256 == 0 {
					runtime.Gosched() // there may be one processor only
				}
			}
			disturbing.Store(false)
			if through.Load() < n {
				runtime.Gosched()
				continue
			}
			if v.run.ImmediateExit != 0 && v.takeKick() {
				taken++
			}
			if v.kicked.Load() {
				lost++
				v.takeKick()
			}
			looked.Store(n)
			n++
		}
	})
	for n := int32(1); n <= rounds; n++ {
		kicking.Store(true)
		for !disturbing.Load() {
			runtime.Gosched()
		}
		v.Kick()
		kicking.Store(false)
		through.Store(n)
		for looked.Load() < n {
			runtime.Gosched()
		}
	}
	runner.Wait()
	if lost > 0 || taken != rounds {
		t.Errorf("%d of %d kicks taken, %d lost", taken, rounds, lost)
	}
}
