package eventfd_test

import (
	"errors"
	"os"
	"sync"
	"testing"

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
