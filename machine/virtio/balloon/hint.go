package balloon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"usui/machine/guestmem"
	"usui/machine/virtio"
)

// Hints hears of memory that holds nothing.
type Hints interface {
	// Unused is called with whole pages that the guest does not use. They stay so until [Balloon.ReturnHinted], unless the guest runs
	// out of memory: then it takes some and writes to them, which its dirty log shows. It must not block, nor call the balloon.
	Unused(r guestmem.Range)
}

// hinting is the host's side of a question for hints.
type hinting struct {
	mu       sync.Mutex // held while Hints is called
	question *question  // guarded by mu; nil: nobody wants to know
	last     uint32     // guarded by mu; the last command's number
}

// question is one call of [Balloon.Hint].
type question struct {
	command uint32
	hints   Hints
	heard   bool          // the driver has begun with it
	done    chan struct{} // closed when no more will come
	err     error         // valid when done is closed
}

// end ends the question that is under way, if there is one.
func (h *hinting) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finish(err)
}

// finish is end for who holds mu.
func (h *hinting) finish(err error) {
	if h.question != nil {
		h.question.err = err
		close(h.question.done)
		h.question = nil
	}
}

// Hint asks the driver which pages hold nothing and hands them to hints until it has named all, or ctx ends, whose cause is then the error.
// The guest keeps them out of use until [Balloon.ReturnHinted]. One question can be under way at a time.
//
// A hint is true for the contents of the page at a moment after the question. Whoever collects dirty pages drops only what was
// collected before the call, and ends it before the next collection: later hints never come.
func (d *Balloon) Hint(ctx context.Context, hints Hints) error {
	q, err := d.begin(hints)
	if err != nil {
		return fmt.Errorf("hints: %w", err)
	}
	d.tellDriver()
	select {
	case <-q.done:
	case <-ctx.Done():
		d.hint.mu.Lock()
		if d.hint.question == q {
			d.hint.finish(context.Cause(ctx))
		}
		d.hint.mu.Unlock()
	}
	if d.setCommand(q.command, commandStop) {
		d.tellDriver()
	}
	<-q.done
	return q.err
}

// begin gives the driver a new command.
func (d *Balloon) begin(hints Hints) (*question, error) {
	d.hint.mu.Lock()
	defer d.hint.mu.Unlock()
	if d.hint.question != nil {
		return nil, errors.New("another question is under way")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hintQueue == nil {
		return nil, ErrNoDriver
	}
	d.hint.last = max(d.hint.last+1, firstCommand)
	d.command = d.hint.last
	d.hint.question = &question{command: d.hint.last, hints: hints, done: make(chan struct{})}
	return d.hint.question, nil
}

// setCommand changes the command from one to another, unless it is a third by now or the driver is gone.
func (d *Balloon) setCommand(from, to uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.command != from || d.hintQueue == nil {
		return false
	}
	d.command = to
	return true
}

// ReturnHinted lets the guest use the pages again that it hinted at.
func (d *Balloon) ReturnHinted() {
	if d.setCommand(commandStop, commandDone) {
		d.tellDriver()
	}
}

// serveHints handles what the driver sends: a command's number when it begins with it, the number of another when it has ended, and free
// pages as buffers in between (virtio 1.2 section 5.5.6.6).
func (d *Balloon) serveHints(q *virtio.Queue) {
	d.serve(q, func(c *virtio.Chain) {
		d.hint.mu.Lock()
		defer d.hint.mu.Unlock()
		if c.OutLen >= 4 {
			d.hint.command(c.Out)
		}
		for _, b := range c.In {
			first, n := d.space.whole(b)
			if a := d.hint.question; a != nil && a.heard && n > 0 && !d.stopping.Load() {
				d.counters.hinted.Add(n << pageShift)
				a.hints.Unused(guestmem.Range{Start: first << pageShift, Size: n << pageShift})
			}
		}
	})
}

// command follows the number in the first bytes of bufs, which are 4 or more. The caller holds mu.
func (h *hinting) command(bufs [][]byte) {
	var raw [4]byte
	for got := 0; got < len(raw); bufs = bufs[1:] {
		got += copy(raw[got:], bufs[0])
	}
	switch id := binary.LittleEndian.Uint32(raw[:]); {
	case h.question == nil:
	case id == h.question.command:
		h.question.heard = true
	case h.question.heard:
		h.finish(nil)
	}
}
