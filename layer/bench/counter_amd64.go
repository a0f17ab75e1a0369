package bench

import (
	"encoding/binary"
	"time"
)

// hostCounter reads the time-stamp counter as the guest does, between fences.
func hostCounter() uint64

// cheapCounter is how many ticks two reads of the counter may be apart. More is a trap, which would be timed instead.
const cheapCounter = 200

// counterBatch is how many operations are timed by the guest at a time.
const counterBatch = 256

// counter times single operations by the guest's time-stamp counter.
type counter struct {
	rig         *rig
	work, empty uint64  // loops
	ticks       float64 // between two reads with nothing in between
	perNs       float64 // ticks
	halves      string  // why exit and entry are not timed apart; "" if they are
}

// stamp is when the host left KVM_RUN for an exit of the operation, and when it called it again.
type stamp struct{ left, back uint64 }

// newCounter returns nil where the counter is of no use.
func newCounter(r *rig) (*counter, error) {
	if r.op == nil || r.machine.software && !r.machine.anyCounter {
		return nil, nil
	}
	c := &counter{rig: r}
	var err error
	if c.work, err = r.guest.Program.Addr("stamped"); err != nil {
		return nil, err
	}
	if c.empty, err = r.guest.Program.Addr("emptyStamped"); err != nil {
		return nil, err
	}
	if r.machine.tscKHz <= 0 {
		return nil, nil // without a frequency ticks are no time
	}
	c.perNs = float64(r.machine.tscKHz) / 1e6
	r.stamps = make([]stamp, 0, maxStamps)
	samples := make([]float64, 0, counterBatch)
	if err := c.batch(c.empty, counterBatch, func(begin, end uint64, _ int) { samples = append(samples, float64(end-begin)) }); err != nil {
		return nil, err
	}
	if c.ticks = median(samples); c.ticks > cheapCounter && !r.machine.anyCounter {
		return nil, nil
	}
	c.halves, r.stampedAt = c.whyNoHalves(), c.empty
	return c, nil
}

// whyNoHalves makes the guest's counter the host's, if it can: only then do their readings compare.
func (c *counter) whyNoHalves() string {
	const group, offset = 0, 0 // KVM_VCPU_TSC_CTRL and KVM_VCPU_TSC_OFFSET of Documentation/virt/kvm/devices/vcpu.rst
	switch r := c.rig; {
	case r.user != exactly(1):
		return "n/a: no exit reaches this program"
	case r.cpu.SetAttr(group, offset, 0) != nil:
		return "n/a: the guest's counter cannot be made the host's"
	}
	return ""
}

// batch lets the guest do a loop of n operations and calls each with the counter before and after each of them.
func (c *counter) batch(loop uint64, n int, each func(begin, end uint64, i int)) error {
	r := c.rig
	if err := r.onTime(); err != nil {
		return err
	}
	if err := r.doReset(); err != nil {
		return err
	}
	r.stamps, r.stamping = r.stamps[:0], true
	_, err := r.run(loop, n)
	r.stamping = false
	if err != nil {
		return err
	}
	p, err := r.guest.Memory.Slice(samplesAddr, uint64(16*n))
	if err != nil {
		return err
	}
	for i := range n {
		each(binary.LittleEndian.Uint64(p[16*i:]), binary.LittleEndian.Uint64(p[16*i+8:]), i)
	}
	return nil
}

// sample times operations for the given time.
func (c *counter) sample(n int, share time.Duration) (launched, error) {
	r := c.rig
	out := launched{method: guestCounter, samples: make([]float64, 0, maxKept+n), halves: c.halves}
	if c.halves == "" {
		out.exit, out.entry = make([]float64, 0, maxKept+n), make([]float64, 0, maxKept+n)
	}
	ns := func(from, to uint64) float64 { return max(0, float64(int64(to-from))-c.ticks) / c.perNs }
	keep := func(begin, end uint64, i int) {
		out.samples = append(out.samples, ns(begin, end))
		if c.halves == "" && i < len(r.stamps) {
			out.exit = append(out.exit, ns(begin, r.stamps[i].left))
			out.entry = append(out.entry, ns(r.stamps[i].back, end))
		}
	}
	for begin := time.Now(); r.wantsMore(len(out.samples), begin, share); {
		if err := c.batch(c.work, n, keep); err != nil {
			return out, err
		}
		r.operations += uint64(n)
		if err := r.verifyLoop(n); err != nil {
			return out, err
		}
	}
	return out, r.enough(len(out.samples))
}
