package virtio

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/guestmem"
)

// parcel is a kind of request that shows whether it was answered: the answer repeats the question's number.
type parcel struct {
	*driver
	*testing.T
	m      *guestmem.Memory
	rnd    *rand.Rand
	number uint64
	slots  []uint64          // buffers that no request uses
	open   map[uint16]uint64 // head -> slot
	at     map[uint16]uint16 // head -> entry of the available ring
}

func (p *parcel) slot(s uint64) (out, in []byte) {
	b := slice(p.T, p.m, s, 16)
	return b[:8], b[8:]
}

// ask makes a request available, if there is room.
func (p *parcel) ask() bool {
	i := p.rnd.IntN(len(p.slots))
	s := p.slots[i]
	position := p.availIdx
	out, in := p.slot(s)
	head, ok := p.add(buffer{s, 8, false}, buffer{s + 8, 8, true})
	if !ok {
		return false
	}
	p.number++
	binary.LittleEndian.PutUint64(out, p.number)
	clear(in)
	p.slots = append(p.slots[:i], p.slots[i+1:]...)
	p.open[head], p.at[head] = s, position
	p.publish()
	return true
}

// answer is what a device model does with a chain that may be open.
func (p *parcel) answer(c *Chain) (uint32, bool) {
	if len(c.Out) != 1 || len(c.In) != 1 || len(c.Out[0]) != 8 || len(c.In[0]) != 8 || string(c.Out[0]) == string(c.In[0]) {
		return 0, false
	}
	copy(c.In[0], c.Out[0])
	return 8, true
}

// collect takes what was used; each must be open and answered.
func (p *parcel) collect() {
	for {
		head, _, found, ok := p.take()
		if !found {
			return
		}
		s, open := p.open[head]
		if !ok || !open {
			p.Fatalf("chain %d is used, which is not open", head)
		}
		if out, in := p.slot(s); string(out) != string(in) {
			p.Fatalf("chain %d is used and not answered", head)
		}
		delete(p.open, head)
		p.slots = append(p.slots, s)
	}
}

// TestInheritFindsWhatIsOpen lets one who serves a queue in any order be gone at any time. All that he had taken is answered once, as long as
// the available ring still tells of it, and the queue goes on.
func TestInheritFindsWhatIsOpen(t *testing.T) {
	for seed := range uint64(300) {
		m := newMemory(t)
		features := [...]uint64{0, FeatureEventIdx}[seed%2]
		interrupts := 0
		config := QueueConfig{Interrupt: func() { interrupts++ }}
		d, before := newDriver(t, m, 16, features, config)
		p := &parcel{driver: d, T: t, m: m, rnd: rand.New(rand.NewPCG(seed, 1)), open: map[uint16]uint64{}, at: map[uint16]uint16{}}
		for i := range uint64(10) {
			p.slots = append(p.slots, bufferGPA+16*i)
		}
		start := uint16(p.rnd.UintN(1 << 16)) // the indices go round at some time
		before.nextAvail, before.seenAvail, before.nextUsed = start, start, start
		p.availIdx, p.usedIdx, p.published = start, start, start
		guestmem.Store16(d.avail, 2, start)
		guestmem.Store16(d.used, 2, start)

		var taken []Chain
		for range p.rnd.IntN(200) {
			switch p.rnd.IntN(4) {
			case 0, 1:
				p.ask()
			case 2:
				var c Chain
				if ok, err := before.Pop(&c); err != nil {
					t.Fatal(err)
				} else if ok {
					taken = append(taken, c)
				}
			case 3:
				if len(taken) == 0 {
					continue
				}
				i := p.rnd.IntN(len(taken))
				p.answer(&taken[i])
				before.Push(taken[i].Head, 8)
				taken = append(taken[:i], taken[i+1:]...)
				p.collect()
			}
		}
		lost := 0
		for head := range p.open {
			if p.availIdx-p.at[head] > 16 {
				lost++ // its entry is another's by now
			}
		}
		after, err := NewQueue(QueueConfig{Kick: newKick(t), Memory: m, Size: 16, Desc: descGPA, Avail: availGPA, Used: usedGPA, Features: features, Interrupt: config.Interrupt})
		if err != nil {
			t.Fatal(err)
		}
		interrupts = 0
		if err := after.Inherit(p.answer); err != nil {
			t.Fatalf("seed %d: Inherit = %v", seed, err)
		}
		after.Notify()
		if p.collect(); len(p.open) != lost || interrupts != 1 {
			t.Fatalf("seed %d: %d chains are open, %d of which could not be found; %d interrupts, want 1", seed, len(p.open), lost, interrupts)
		}
		if p.ask() {
			var c Chain
			mustPop(t, after, &c)
			p.answer(&c)
			after.Push(c.Head, 8)
			p.collect()
		}
		if len(p.open) != lost {
			t.Fatalf("seed %d: %d chains are open at the end, want %d", seed, len(p.open), lost)
		}
	}
}

func TestInheritOfARingThatMakesNoSense(t *testing.T) {
	m := newMemory(t)
	var broken []error
	d, q := newDriver(t, m, 8, 0, QueueConfig{Broken: func(err error) { broken = append(broken, err) }})
	for i := range uint16(8) { // chains outside of memory, and one that is no chain
		putDescriptor(d.desc, int(i), 1<<40, 8, 0, 0)
		d.putAvail(i * 3)
	}
	d.publish()
	shown := 0
	if err := q.Inherit(func(*Chain) (uint32, bool) { shown++; return 0, true }); err != nil || shown != 0 {
		t.Errorf("Inherit = %v, %d chains shown; want none", err, shown)
	}
	guestmem.Store16(d.used, 2, 1000)
	if err := q.Inherit(nil); err == nil || len(broken) != 1 {
		t.Errorf("Inherit with a used index far ahead = %v, broken %v", err, broken)
	}
	if err := q.Inherit(nil); !errors.Is(err, ErrBroken) {
		t.Errorf("Inherit of a broken queue = %v", err)
	}
}

func TestADeviceBreaksItself(t *testing.T) {
	c := newCard(t, &echo{})
	c.start(1, 0)
	c.dev.queues[1].Break(errors.New("out of order"))
	c.dev.queues[1].Break(errors.New("again"))
	if got := c.status(); got&statusNeedsReset == 0 {
		t.Errorf("status %#x, want NEEDS_RESET", got)
	}
	if text, n := c.log.take(); n != 1 || !strings.Contains(text, "out of order") {
		t.Errorf("log of %d lines: %s", n, text)
	}
}

// Who had the kick may have left it full and in another mode. Then Stop would wait for a reader, and Wait for a writer, each in a system call.
func TestInheritReclaimsTheKick(t *testing.T) {
	m := newMemory(t)
	kick := newKick(t)
	_, q := newDriver(t, m, 8, 0, QueueConfig{Kick: kick})
	if err := unix.SetNonblock(kick.FD(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(kick.FD(), binary.LittleEndian.AppendUint64(nil, 1<<64-2)); err != nil {
		t.Fatal(err)
	}
	if err := q.Inherit(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(kick.FD(), make([]byte, 8)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("read of the kick afterwards = %v, want EAGAIN", err)
	}
	q.Stop()
	if q.Wait() {
		t.Error("Wait of a stopped queue = true")
	}
}
