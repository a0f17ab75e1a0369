package balloon

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"usui/machine/guestmem"
	"usui/machine/virtio/virtiotest"
)

// list notes all hints.
type list struct {
	mu     sync.Mutex
	ranges []guestmem.Range // guarded by mu
}

func (l *list) Unused(r guestmem.Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ranges = append(l.ranges, r)
}

func (l *list) heard() []guestmem.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ranges)
}

// nobody fails to hear anything.
type nobody struct{}

func (nobody) Unused(guestmem.Range) {}

// hintingDriver follows the command as Linux does: it reads it when it is told of a change.
type hintingDriver struct {
	*virtiotest.Driver
	t       *testing.T
	d       *Balloon
	changes chan uint32
}

func newHintingDriver(t *testing.T, d *Balloon) *hintingDriver {
	h := &hintingDriver{start(t, d, all), t, d, make(chan uint32, 100)}
	d.OnChange(func() {
		var p [4]byte
		d.ReadConfig(p[:], 8)
		h.changes <- binary.LittleEndian.Uint32(p[:])
	})
	return h
}

func (h *hintingDriver) say(id uint32) {
	h.t.Helper()
	send(h.t, h.Driver, hints, h.Out(binary.LittleEndian.AppendUint32(nil, id)))
}

func (h *hintingDriver) hint(gpa uint64, n uint32) {
	h.t.Helper()
	send(h.t, h.Driver, hints, virtiotest.Buffer{GPA: gpa, Len: n, Write: true})
}

func TestHintsReachTheirConsumer(t *testing.T) {
	d := newBalloon(t, Config{})
	if err := d.Hint(t.Context(), nobody{}); !errors.Is(err, ErrNoDriver) {
		t.Errorf("Hint before Start = %v, want %v", err, ErrNoDriver)
	}
	h := newHintingDriver(t, d)
	b := filled(t, h.Driver, spare, 8<<20)
	h.hint(spare, 1<<20) // nobody asked
	for round := range uint32(3) {
		var heard list
		var host sync.WaitGroup
		host.Go(func() {
			if err := d.Hint(t.Context(), &heard); err != nil {
				t.Errorf("Hint = %v", err)
			}
		})
		id := <-h.changes
		if id != firstCommand+round {
			t.Errorf("command %d, want %d", id, firstCommand+round)
		}
		if err := d.Hint(t.Context(), nobody{}); err == nil {
			t.Error("a second question at a time succeeds")
		}
		h.hint(spare, 1<<20) // of before
		h.say(commandStop)   // likewise
		h.say(id - 1)        // likewise
		h.say(id)
		h.hint(spare+1<<20, 4<<20)
		h.hint(spare+6<<20+1, 2*pageSize) // one whole page
		h.hint(spare+7<<20+1, pageSize)   // none
		h.say(commandStop)
		host.Wait()
		h.hint(spare, 1<<20) // too late
		want := []guestmem.Range{{Start: spare + 1<<20, Size: 4 << 20}, {Start: spare + 6<<20 + pageSize, Size: pageSize}}
		if got := heard.heard(); !slices.Equal(got, want) {
			t.Errorf("hints %v, want %v", got, want)
		}
		if got := <-h.changes; got != commandStop {
			t.Errorf("command %d after the hints, want %d", got, commandStop)
		}
		d.ReturnHinted()
		if got := <-h.changes; got != commandDone {
			t.Errorf("command %d after ReturnHinted, want %d", got, commandDone)
		}
	}
	if got := d.Stats(); got.HintedBytes != 3*(4<<20+pageSize) || got.ReleasedBytes != 0 || b[0] != 0xaa || b[2<<20] != 0xaa {
		t.Errorf("Stats = %+v, want hints and nothing released", got)
	}
}

// TestHintEndsWithItsContext: after it has returned, no hint comes, though the driver goes on.
func TestHintEndsWithItsContext(t *testing.T) {
	d := newBalloon(t, Config{})
	h := newHintingDriver(t, d)
	enough := errors.New("enough")
	var heard list
	ctx, cancel := context.WithCancelCause(t.Context())
	var host sync.WaitGroup
	host.Go(func() {
		if err := d.Hint(ctx, &heard); !errors.Is(err, enough) {
			t.Errorf("Hint = %v, want %v", err, enough)
		}
	})
	id := <-h.changes
	h.say(id)
	h.hint(spare, 1<<20)
	cancel(enough)
	host.Wait()
	before := len(heard.heard())
	h.hint(spare, 1<<20)
	h.say(id)
	h.hint(spare, 1<<20)
	if got := len(heard.heard()); got != before || before != 1 {
		t.Errorf("%d hints, %d of them after Hint returned", got, got-before)
	}
	if got := <-h.changes; got != commandStop {
		t.Errorf("command %d, want %d", got, commandStop)
	}
}

func TestAResetEndsAQuestion(t *testing.T) {
	d := newBalloon(t, Config{})
	h := newHintingDriver(t, d)
	var host sync.WaitGroup
	host.Go(func() {
		if err := d.Hint(t.Context(), nobody{}); !errors.Is(err, ErrNoDriver) {
			t.Errorf("Hint = %v, want %v", err, ErrNoDriver)
		}
	})
	h.say(<-h.changes)
	h.Stop()
	host.Wait()
	d.ReturnHinted() // nothing to return
	var p [4]byte
	if d.ReadConfig(p[:], 8); p != [4]byte{} {
		t.Errorf("command % x after a reset, want stop", p)
	}
}
