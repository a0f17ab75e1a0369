package balloon

import (
	"context"
	"encoding/binary"
	"fmt"

	"usui/machine/virtio"
)

// GuestStats is what the driver says of the guest's memory (virtio 1.2 section 5.5.6.4). What it does not say is 0.
type GuestStats struct {
	SwapInBytes, SwapOutBytes uint64
	MajorFaults, MinorFaults  uint64
	FreeBytes                 uint64 `metric:"gauge"` // in no use at all
	TotalBytes                uint64 `metric:"gauge"` // without the kernel's own, and without the balloon if it cannot deflate by itself
	AvailableBytes            uint64 `metric:"gauge"` // for new programs, without swapping
	CacheBytes                uint64 `metric:"gauge"` // of files
	HugePagesAllocated        uint64
	HugePagesFailed           uint64

	Given uint16 // bit i: the driver gave the statistic with tag i
}

// field is where the value with a tag belongs; nil: the tag is unknown.
func (s *GuestStats) field(tag uint16) *uint64 {
	fields := [...]*uint64{ // in the order of VIRTIO_BALLOON_S_...
		&s.SwapInBytes, &s.SwapOutBytes, &s.MajorFaults, &s.MinorFaults, &s.FreeBytes,
		&s.TotalBytes, &s.AvailableBytes, &s.CacheBytes, &s.HugePagesAllocated, &s.HugePagesFailed,
	}
	if int(tag) >= len(fields) {
		return nil
	}
	return fields[tag]
}

const (
	statSize = 10 // bytes: a tag of 2 and a value of 8
	maxStats = 64 // of one buffer; there are 10 tags, and a few more in later drivers
)

// readStats reads statistics. Unknown ones and what is no whole one is ignored; of two with one tag the last counts.
func readStats(bufs [][]byte) (s GuestStats) {
	var raw [maxStats * statSize]byte
	n := 0
	for _, b := range bufs {
		n += copy(raw[n:], b)
	}
	for i := 0; i+statSize <= n; i += statSize {
		tag := binary.LittleEndian.Uint16(raw[i:])
		if f := s.field(tag); f != nil {
			*f = binary.LittleEndian.Uint64(raw[i+2:])
			s.Given |= 1 << tag
		}
	}
	return s
}

// GuestStats asks the driver for statistics and waits for them until ctx ends, whose cause is then the error. Calls at the same time share
// an answer.
func (d *Balloon) GuestStats(ctx context.Context) (GuestStats, error) {
	d.mu.Lock()
	if d.statsQueue == nil {
		d.mu.Unlock()
		return GuestStats{}, fmt.Errorf("statistics: %w", ErrNoDriver)
	}
	if d.answer == nil {
		d.answer = make(chan struct{})
	}
	answer := d.answer
	d.mu.Unlock()
	d.ask()
	select {
	case <-answer:
	case <-ctx.Done():
		return GuestStats{}, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.answers == 0 {
		return GuestStats{}, fmt.Errorf("statistics: reset: %w", ErrNoDriver)
	}
	return d.guest, nil
}

// LastGuestStats are the last statistics that the driver gave, whoever asked. All is 0 if it gave none.
func (d *Balloon) LastGuestStats() GuestStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.guest
}

// ask wakes the queue's goroutine to ask the driver.
func (d *Balloon) ask() {
	d.mu.Lock()
	q := d.statsQueue
	d.asked = q != nil
	d.mu.Unlock()
	if q != nil {
		q.Wake()
	}
}

// serveStats keeps the driver's buffer until statistics are wanted. What else the driver makes available meanwhile waits.
func (d *Balloon) serveStats(q *virtio.Queue) {
	var c virtio.Chain
	for holds := false; !d.stopping.Load(); {
		if holds {
			if d.wanted() {
				q.Push(c.Head, 0)
				q.Notify()
				holds = false
			} else if !q.Wait() {
				return
			}
			continue
		}
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			d.answered(readStats(c.Out))
			holds = true
		case !q.Arm() && !q.Wait():
			return
		}
	}
}

// wanted takes the wish for statistics.
func (d *Balloon) wanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = false
	return asked
}

// answered hands statistics to all who wait.
func (d *Balloon) answered(s GuestStats) {
	d.counters.answers.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guest, d.asked = s, false
	d.answers++
	if d.answer != nil {
		close(d.answer)
		d.answer = nil
	}
	if d.timer != nil {
		d.timer.Reset(d.config.StatsEvery)
	}
}

// endStats forgets the driver. The caller holds mu.
func (d *Balloon) endStats() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.statsQueue, d.asked, d.guest, d.answers = nil, false, GuestStats{}, 0
	if d.answer != nil {
		close(d.answer)
		d.answer = nil
	}
}
