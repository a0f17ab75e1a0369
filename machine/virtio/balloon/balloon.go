package balloon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"usui/machine/virtio"
)

// Feature bits (virtio 1.2 section 5.5.3).
const (
	FeatureMustTellHost = 1 << 0 // a page is used again only when its deflation was answered
	FeatureStats        = 1 << 1
	FeatureDeflateOnOOM = 1 << 2 // the driver may take pages back when the guest runs out of memory
	FeatureFreePageHint = 1 << 3
	FeaturePagePoison   = 1 << 4 // free pages hold poison_val
	FeatureReporting    = 1 << 5
)

const (
	deviceID  = 5       // virtio 1.2 section 5.5.1
	pageShift = 12      // of page numbers, whatever pages guest and host have
	pageSize  = 1 << 12 // likewise

	queueCount = 5
)

// queueSizes are those of the inflate, deflate, statistics, hint and reporting queues. Linux has one request at a time in the first three,
// wants 32 entries in the last, and gives up blocks that find no room in the queue of hints.
var queueSizes = [queueCount]uint16{128, 128, 8, 256, 32}

// Values of free_page_hint_cmd_id that are no command's number (virtio 1.2 section 5.5.6.6).
const (
	commandStop  = 0
	commandDone  = 1
	firstCommand = 2
)

// ErrNoDriver is wrapped by errors about questions that no driver in the guest can answer: there is none, it does not have this function, or it
// was reset meanwhile.
var ErrNoDriver = errors.New("no driver in the guest answers")

// Config describes a balloon.
type Config struct {
	Memory       uint64        // bytes of the guest's memory: no target is larger
	Target       uint64        // bytes to take at first
	Reporting    bool          // let the driver report free pages, and release them
	DeflateOnOOM bool          // let the driver deflate when the guest runs out of memory
	StatsEvery   time.Duration // between two questions for statistics; 0: only [Balloon.GuestStats] asks
	Log          *slog.Logger  // nil: discard
}

// Balloon is a virtio memory balloon. It implements [virtio.Changing].
type Balloon struct {
	config   Config
	log      *slog.Logger
	logged   atomic.Int32
	counters counters

	stopping atomic.Bool
	queues   []*virtio.Queue // of the last Start
	running  sync.WaitGroup
	space    space
	pages    held
	hint     hinting

	mu         sync.Mutex
	changed    func()        // guarded by mu, as all below
	target     uint32        // num_pages of the device configuration
	actual     uint32        // what the driver says is in the balloon, in pages
	command    uint32        // free_page_hint_cmd_id
	poison     uint32        // poison_val
	poisoned   bool          // the driver accepted PAGE_POISON
	hintQueue  *virtio.Queue // nil: nobody would hint
	statsQueue *virtio.Queue // nil: nobody would answer
	asked      bool          // statistics are wanted, and the driver does not know yet
	answer     chan struct{} // closed with the next statistics; nil: nobody waits
	guest      GuestStats    // the last ones
	answers    uint64        // how many came since Start
	timer      *time.Timer   // asks for the next ones
}

// New makes the device.
func New(c Config) (*Balloon, error) {
	d := &Balloon{config: c, log: c.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if c.StatsEvery < 0 {
		return nil, fmt.Errorf("virtio-balloon: statistics every %v: want a positive time, or 0", c.StatsEvery)
	}
	if err := d.SetTarget(c.Target); err != nil {
		return nil, err
	}
	return d, nil
}

// SetTarget says how many bytes of its memory the guest shall give up, in whole pages: more than before inflates the balloon, less deflates it.
// The guest follows in its own time, as far as it can; [Balloon.Actual] tells how far it is.
func (d *Balloon) SetTarget(bytes uint64) error {
	if bytes > d.config.Memory {
		return fmt.Errorf("virtio-balloon: a target of %d bytes: the guest has %d", bytes, d.config.Memory)
	}
	d.mu.Lock()
	d.target = uint32(min(bytes>>pageShift, math.MaxUint32))
	d.mu.Unlock()
	d.tellDriver()
	return nil
}

// Target is what SetTarget was told last, in whole pages.
func (d *Balloon) Target() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(d.target) << pageShift
}

// Actual is how many bytes are in the balloon, as the driver says.
func (d *Balloon) Actual() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(d.actual) << pageShift
}

// OnChange implements [virtio.Changing].
func (d *Balloon) OnChange(changed func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = changed
}

// tellDriver makes the driver read the configuration.
func (d *Balloon) tellDriver() {
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// ID implements [virtio.Device].
func (d *Balloon) ID() uint16 { return deviceID }

// Features implements [virtio.Device].
func (d *Balloon) Features() uint64 {
	f := uint64(FeatureMustTellHost | FeatureStats | FeatureFreePageHint | FeaturePagePoison)
	if d.config.DeflateOnOOM {
		f |= FeatureDeflateOnOOM
	}
	if d.config.Reporting {
		f |= FeatureReporting
	}
	return f
}

// QueueSizes implements [virtio.Device].
func (d *Balloon) QueueSizes() []uint16 { return queueSizes[:] }

// configSize is that of struct virtio_balloon_config (virtio 1.2 section 5.5.4).
const configSize = 16

// configuration is that structure as it is now. The caller holds mu.
func (d *Balloon) configuration() (c [configSize]byte) {
	binary.LittleEndian.PutUint32(c[0:], d.target)
	binary.LittleEndian.PutUint32(c[4:], d.actual)
	binary.LittleEndian.PutUint32(c[8:], d.command)
	binary.LittleEndian.PutUint32(c[12:], d.poison)
	return c
}

// ReadConfig implements [virtio.Device].
func (d *Balloon) ReadConfig(p []byte, off int) {
	d.mu.Lock()
	c := d.configuration()
	d.mu.Unlock()
	clear(p)
	if off >= 0 && off < configSize {
		copy(p, c[off:])
	}
}

// WriteConfig implements [virtio.Device]. The driver says how large the balloon is, and what its free pages hold.
func (d *Balloon) WriteConfig(p []byte, off int) {
	if off < 0 || off >= configSize {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.configuration()
	copy(c[off:], p)
	d.actual = binary.LittleEndian.Uint32(c[4:])
	d.poison = binary.LittleEndian.Uint32(c[12:])
}

// Start implements [virtio.Device].
func (d *Balloon) Start(features uint64, queues []*virtio.Queue) error {
	if len(queues) != queueCount {
		return fmt.Errorf("virtio-balloon: %d queues, want %d", len(queues), queueCount)
	}
	d.stopping.Store(false)
	r := roles(features, queues)
	for _, q := range r {
		if q != nil {
			d.queues = append(d.queues, q)
		}
	}
	if len(d.queues) == 0 {
		return nil
	}
	mem := d.queues[0].Memory()
	d.space = newSpace(mem)
	d.pages.reset(mem, features&FeatureMustTellHost != 0)
	d.mu.Lock()
	d.poisoned = features&FeaturePagePoison != 0
	d.statsQueue, d.hintQueue = r[2], r[3]
	if d.statsQueue != nil && d.config.StatsEvery > 0 {
		d.timer = time.AfterFunc(d.config.StatsEvery, d.ask) // stopped by Stop
	}
	d.mu.Unlock()
	for i, handle := range [queueCount]func(*virtio.Queue){
		d.serveInflate, d.serveDeflate, d.serveStats, d.serveHints, d.serveReports,
	} {
		if q := r[i]; q != nil {
			d.running.Go(func() { handle(q) }) // ended by Stop
		}
	}
	return nil
}

// roles puts the queues into the order of queueSizes. The specification gives each a fixed number; Linux numbers those that it uses without a
// gap. Either way the queues behind the first two are those of the accepted features, in that order.
func roles(features uint64, queues []*virtio.Queue) (r [queueCount]*virtio.Queue) {
	r[0], r[1] = queues[0], queues[1]
	rest := queues[2:]
	for i, f := range []uint64{FeatureStats, FeatureFreePageHint, FeatureReporting} {
		for len(rest) > 0 && rest[0] == nil {
			rest = rest[1:]
		}
		if features&f != 0 && len(rest) > 0 {
			r[2+i], rest = rest[0], rest[1:]
		}
	}
	return r
}

// Stop implements [virtio.Device]. The target outlives it.
func (d *Balloon) Stop() {
	d.stopping.Store(true)
	for _, q := range d.queues {
		q.Stop()
	}
	d.running.Wait()
	d.queues = nil
	d.hint.end(fmt.Errorf("hints: reset: %w", ErrNoDriver))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.actual, d.command, d.poison, d.poisoned = 0, commandStop, 0, false
	d.hintQueue = nil
	d.endStats()
}

// serve handles the requests of a queue until Stop, or until the driver breaks it.
func (d *Balloon) serve(q *virtio.Queue, handle func(*virtio.Chain)) {
	var c virtio.Chain
	for !d.stopping.Load() { // a driver that goes on while it is reset does not keep us here
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			handle(&c)
			q.Push(c.Head, 0)
		default:
			q.Notify()
			if !q.Arm() && !q.Wait() {
				return
			}
			q.Disarm()
			d.counters.wakeups.Add(1)
		}
	}
}

var _ virtio.Changing = (*Balloon)(nil)
