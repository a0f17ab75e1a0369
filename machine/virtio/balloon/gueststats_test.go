package balloon

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"

	"usui/machine/virtio/virtiotest"
)

// closed is a context that has ended.
var closed = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// stat is one statistic as a driver writes it.
func stat(tag uint16, value uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, tag), value)
}

func TestReadStats(t *testing.T) {
	var all []byte
	for tag := range uint16(16) { // later drivers have more than 10
		all = append(all, stat(tag, 100+uint64(tag))...)
	}
	want := GuestStats{100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 0x3ff}
	var pieces [][]byte
	for i := 0; i < len(all); i += 7 {
		pieces = append(pieces, all[i:min(i+7, len(all))])
	}
	for _, tt := range []struct {
		name string
		bufs [][]byte
		want GuestStats
	}{
		{"nothing", nil, GuestStats{}},
		{"all", [][]byte{all}, want},
		{"all in pieces", pieces, want},
		{"unknown", [][]byte{stat(10, 1), stat(0xffff, 2)}, GuestStats{}},
		{"the last of two", [][]byte{stat(4, 1), stat(4, 2)}, GuestStats{FreeBytes: 2, Given: 1 << 4}},
		{"no whole one", [][]byte{stat(5, 7), stat(4, 1)[:9]}, GuestStats{TotalBytes: 7, Given: 1 << 5}},
		{"more than there can be", [][]byte{make([]byte, 1<<20), stat(4, 1)}, GuestStats{Given: 1}},
	} {
		if got := readStats(tt.bufs); got != tt.want {
			t.Errorf("%s: readStats = %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// answer does what a driver does: it gets its buffer back and fills it again.
func answer(t *testing.T, g *virtiotest.Driver, free uint64) {
	t.Helper()
	if _, _, ok := g.Queues[statistics].Wait(); !ok {
		t.Error(g.Broken())
	}
	g.Queues[statistics].Add(g.Out(stat(4, free)))
}

func TestGuestStatsAsksTheDriver(t *testing.T) {
	d := newBalloon(t, Config{})
	if _, err := d.GuestStats(t.Context()); !errors.Is(err, ErrNoDriver) {
		t.Errorf("GuestStats before Start = %v, want %v", err, ErrNoDriver)
	}
	g := start(t, d, all)
	if _, err := d.GuestStats(closed); !errors.Is(err, context.Canceled) {
		t.Errorf("GuestStats of a silent driver = %v, want %v", err, context.Canceled)
	}
	g.Queues[statistics].Add(g.Out(stat(4, 1))) // with which a driver begins
	for d.LastGuestStats().FreeBytes != 1 {
		runtime.Gosched()
	}
	for i := uint64(2); i < 20; i++ {
		var driver sync.WaitGroup
		driver.Go(func() { answer(t, g, i) })
		if s, err := d.GuestStats(t.Context()); err != nil || s != (GuestStats{FreeBytes: i, Given: 1 << 4}) {
			t.Errorf("GuestStats = %+v, %v, want %d bytes free", s, err, i)
		}
		driver.Wait()
	}
	// A buffer too many waits.
	g.Queues[statistics].Add(g.Out(stat(4, 100)))
	if s, err := d.GuestStats(t.Context()); err != nil || s.FreeBytes != 100 {
		t.Errorf("GuestStats = %+v, %v, want what the second buffer says", s, err)
	}
	if got := d.Stats().Answers; got != 20 {
		t.Errorf("%d answers, want 20", got)
	}
	g.Stop()
	if s := d.LastGuestStats(); s != (GuestStats{}) {
		t.Errorf("LastGuestStats after a reset = %+v, want none", s)
	}
}

func TestAResetEndsTheWaitForStatistics(t *testing.T) {
	d := newBalloon(t, Config{})
	g := start(t, d, all)
	g.Queues[statistics].Add(g.Out(stat(4, 1)))
	for d.LastGuestStats().FreeBytes != 1 {
		runtime.Gosched()
	}
	var waiters sync.WaitGroup
	for range 3 {
		waiters.Go(func() {
			if s, err := d.GuestStats(t.Context()); !errors.Is(err, ErrNoDriver) {
				t.Errorf("GuestStats = %+v, %v, want %v", s, err, ErrNoDriver)
			}
		})
	}
	g.Queues[statistics].Wait() // one has asked
	g.Stop()
	waiters.Wait()
}

func TestStatisticsArePolled(t *testing.T) {
	d := newBalloon(t, Config{StatsEvery: 1})
	g := start(t, d, all)
	g.Queues[statistics].Add(g.Out(stat(4, 0)))
	for i := range uint64(10) {
		answer(t, g, i)
	}
	g.Restart() // and again by the next driver
	g.Queues[statistics].Add(g.Out(stat(4, 0)))
	answer(t, g, 1)
}
