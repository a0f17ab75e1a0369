package eventfd_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
)

func TestWaitTakesSignalsThatCameBefore(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 3 {
		if err := e.Signal(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Wait(); err != nil {
		t.Fatalf("Wait() = %v, want the signals", err)
	}
	var waiter sync.WaitGroup
	var second error
	waiter.Go(func() { second = e.Wait() })
	e.Close() // a signal left over would have ended the wait with nil before
	waiter.Wait()
	if !errors.Is(second, os.ErrClosed) {
		t.Fatalf("second Wait() = %v, want nothing left to take", second)
	}
}

func TestCloseWakesTheWaiter(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	var waiter sync.WaitGroup
	var got error
	waiter.Go(func() { got = e.Wait() })
	e.Close()
	waiter.Wait()
	if !errors.Is(got, os.ErrClosed) {
		t.Errorf("Wait() = %v, want os.ErrClosed", got)
	}
	if err := e.Signal(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Signal() after Close = %v, want os.ErrClosed", err)
	}
}

func TestHammerSignalsReachTheWaiter(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	reply, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	var waiter sync.WaitGroup
	waiter.Go(func() {
		for e.Wait() == nil {
			reply.Signal()
		}
	})
	for range 5000 { // each round ends only when its own signal was seen
		e.Signal()
		if err := reply.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	waiter.Wait()
}

func TestSignalDoesNotAllocate(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if n := testing.AllocsPerRun(100, func() { e.Signal(); e.Wait() }); n != 0 {
		t.Errorf("Signal and Wait allocate %v times, want 0", n)
	}
}

// A counter that only the kernel takes signals from must not wake threads of Go's.
func TestOnlyTheWaitedForArePolled(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Signal(); err != nil {
		t.Fatal(err)
	}
	if polled(t, e) {
		t.Error("the counter is in an epoll before anybody waits for it")
	}
	if err := e.Wait(); err != nil {
		t.Fatal(err)
	}
	if !polled(t, e) {
		t.Error("the counter is in no epoll after a Wait: this test sees nothing")
	}
}

// polled says whether an epoll of this process watches e.
func polled(t *testing.T, e *eventfd.FD) bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if link, _ := os.Readlink("/proc/self/fd/" + fd.Name()); link != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(info)) { // tfd: NUMBER events: ..., proc(5)
			var number int
			if n, _ := fmt.Sscanf(line, "tfd: %d", &number); n == 1 && number == int(e.Fd()) {
				return true
			}
		}
	}
	return false
}

func TestCloseOfOneThatNobodyWaitedFor(t *testing.T) {
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	for name, call := range map[string]func() error{"Signal": e.Signal, "Wait": e.Wait, "Close": e.Close} {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s() after Close = %v, want os.ErrClosed", name, err)
		}
	}
}

// Signals that race with Close never reach a descriptor that took the number over.
func TestHammerSignalAndClose(t *testing.T) {
	for range 200 {
		e, err := eventfd.New()
		if err != nil {
			t.Fatal(err)
		}
		var signallers sync.WaitGroup
		for range 2 {
			signallers.Go(func() {
				for e.Signal() == nil {
				}
			})
		}
		e.Close()
		other, err := eventfd.New() // most likely the same number
		if err != nil {
			t.Fatal(err)
		}
		signallers.Wait()
		var count [8]byte
		if n, err := unix.Read(int(other.Fd()), count[:]); err != unix.EAGAIN {
			t.Fatalf("a closed counter's signal reached another one: %d bytes, %v", n, err)
		}
		other.Close()
	}
}
