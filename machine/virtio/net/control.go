package net

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
)

// Commands of the control queue: class, then command (virtio 1.2 section 5.1.6.5).
const (
	classAnnounce = 3
	announceAck   = 0

	classPairs = 4
	pairsSet   = 0
)

// Answers to a command.
const (
	answerOK  = 0
	answerErr = 1
)

// maxCommand is the longest command that is understood.
const maxCommand = 4

// control serves the control queue until Stop, or until the driver breaks the ring.
func (d *Net) control(q *virtio.Queue) {
	var c virtio.Chain
	for !d.stopping.Load() {
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			q.Push(c.Head, d.answer(&c))
		default:
			q.Notify()
			if !q.Arm() && !q.Wait() {
				return
			}
			q.Disarm()
		}
	}
}

// answer runs the command in c and writes the answer, where there is room for it. It returns how many bytes those are.
func (d *Net) answer(c *virtio.Chain) uint32 {
	var b [maxCommand]byte
	n := min(len(b), c.OutLen)
	gather(b[:n], c.Out)
	answer := byte(answerOK)
	if err := d.command(b[:n]); err != nil {
		d.refused.Add(1)
		answer = answerErr
	}
	if c.InLen == 0 {
		return 0
	}
	c.In[0][0] = answer
	return 1
}

var errCommand = errors.New("no such command")

// command runs one command, of which b is the beginning.
func (d *Net) command(b []byte) error {
	features := d.accepted.Load()
	switch {
	case len(b) < 2:
		return errCommand
	case b[0] == classAnnounce && b[1] == announceAck && features&FeatureGuestAnnounce != 0:
		d.announcing.Store(false)
		return nil
	case b[0] == classPairs && b[1] == pairsSet && features&FeatureMQ != 0 && len(b) >= 4:
		n := int(binary.LittleEndian.Uint16(b[2:]))
		if n < 1 || n > len(d.pairs) {
			return errCommand
		}
		return d.usePairs(n)
	}
	return errCommand
}

// usePairs puts the first n queue pairs into use, or leaves all as they are. It is called before the goroutines are there, and then by
// the one of the control queue.
func (d *Net) usePairs(n int) error {
	before := 0
	for _, p := range d.pairs {
		if p.on.Load() {
			before++
		}
	}
	for _, p := range d.pairs[n:] {
		p.on.Store(false) // before the backend hears of it, so that an error of theirs is none of the backend's
	}
	err := d.backend.Use(d.accepted.Load(), n)
	if errors.Is(err, unix.EBADFD) {
		d.unplug(err)
	}
	if err != nil {
		n = before
	}
	for i, p := range d.pairs[:n] {
		p.on.Store(true)
		if q := d.queues[2*i]; q != nil {
			q.Wake() // its receiver waits for the switch
		}
	}
	return err
}
