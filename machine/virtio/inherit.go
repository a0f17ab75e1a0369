package virtio

import (
	"fmt"

	"usui/machine/guestmem"
)

// Break marks the device as broken until it is reset: for a device that cannot go on by itself, and for somebody else who serves the
// queue (see [Queue.Ring]) and found that the driver broke the protocol. It may be called by anyone.
func (q *Queue) Break(err error) { _ = q.fail(err) }

// Inherit takes a queue over from somebody else who served it (see [Queue.Ring]) and is gone for good. The rings tell how many chains he has
// taken and not given back, but not which: he may have finished them in any order. So answer is shown the chains that the driver
// made available last, the newest first and each of them once, until all are found. It says whether the chain is open, and then how many
// bytes it has written to close it. What it is shown may have been finished and overwritten long ago.
//
// Before Inherit has returned, nobody may call Wake or Stop: the kick is only then ours again. Afterwards Pop goes on with what the driver
// makes available next. The driver is interrupted with the next Notify, for the one who is gone may not have done it.
func (q *Queue) Inherit(answer func(c *Chain) (written uint32, open bool)) error {
	q.kick.reclaim()
	if q.broken.Load() {
		return ErrBroken
	}
	available := guestmem.Load16(q.avail, ringIndex)
	q.nextUsed = guestmem.Load16(q.used, ringIndex)
	q.nextAvail, q.seenAvail = available, available
	open := available - q.nextUsed
	if open > q.size {
		return q.fail(fmt.Errorf("available index %d and used index %d in a queue of %d", available, q.nextUsed, q.size))
	}
	seen := make([]bool, q.size)
	var c Chain
	for back := uint16(1); open > 0 && back <= q.size; back++ {
		head := guestmem.Load16(q.avail, ringEntries+availEntry*int((available-back)&q.mask))
		if head >= q.size || seen[head] {
			continue
		}
		seen[head] = true
		c.reset()
		if q.gather(head, &c) != nil {
			continue // nothing that could be open
		}
		if written, ok := answer(&c); ok && q.claim(head) {
			q.Push(head, written)
			open--
		}
	}
	q.unnotified = 1 << 16
	return nil
}
