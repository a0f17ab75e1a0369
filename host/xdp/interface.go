package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Config says which frames are wanted and where they go.
type Config struct {
	Name       string   // of the network interface
	Memory     []byte   // begins at a page, is cut into frames, and stays the caller's
	FrameBytes int      // 2048 or 4096
	Held       []uint16 // how often each frame is held from the start; nil for not at all
	Ring       int      // entries of each ring, a power of two; 0 is DefaultRing
	Filter     Filter
}

// DefaultRing is how many frames wait in one direction of a queue.
const DefaultRing = 1024

// headroom is XDP_PACKET_HEADROOM, what the kernel keeps in front of a packet.
const headroom = unix.XDP_PACKET_HEADROOM

// Filter is what comes here; all else is the kernel's.
type Filter struct {
	Address netip.Addr // IPv4
	Port    uint16     // of TCP
	Own     bool       // the address is not the kernel's: ARP and ICMP echo requests for it come here, too
}

// Interface is a network interface of which some frames come here. Its methods belong to one goroutine.
type Interface struct {
	cfg     Config
	link    linkInfo
	frames  *frames
	reserve int // frames that are not given to the kernel
	queues  []*queue
	program *program
	broken  error
	stats   Stats
}

// Open takes the frames from an interface.
func Open(cfg Config) (_ *Interface, err error) {
	if cfg.Ring == 0 {
		cfg.Ring = DefaultRing
	}
	x := &Interface{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("interface %s: %w", cfg.Name, err), x.Close())
		}
	}()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if x.link, err = readLink(cfg.Name); err != nil {
		return nil, err
	}
	if longest := cfg.FrameBytes - headroom - ethernetBytes; x.link.mtu > longest {
		return nil, fmt.Errorf("its MTU is %d, and a frame of %d bytes has room for %d: ip link set %s mtu %d", x.link.mtu, cfg.FrameBytes, longest, cfg.Name, longest)
	}
	x.frames = newFrames(cfg.Memory, cfg.FrameBytes, cfg.Held)
	x.reserve = x.frames.count() / 8
	if need := 2 * cfg.Ring * x.link.queues; len(x.frames.free) < need {
		return nil, fmt.Errorf("%d frames are too few for its %d queues, want %d: give it more memory or fewer queues", len(x.frames.free), x.link.queues, need)
	}
	if x.program, err = load(cfg.Filter, x.link.queues); err != nil {
		return nil, err
	}
	for number := range x.link.queues {
		q, err := x.openQueue(number)
		if err != nil {
			return nil, fmt.Errorf("queue %d: %w", number, err)
		}
		x.queues = append(x.queues, q)
		if err := x.program.direct(number, q.fd); err != nil {
			return nil, fmt.Errorf("queue %d: %w", number, err)
		}
	}
	x.Refill()
	return x, x.program.attach(x.link.index)
}

const ethernetBytes = 14

func (c Config) check() error {
	switch {
	case c.FrameBytes != 2048 && c.FrameBytes != 4096:
		return fmt.Errorf("frames of %d bytes, want 2048 or 4096", c.FrameBytes)
	case len(c.Memory) == 0 || len(c.Memory)%c.FrameBytes != 0 || !pageAligned(c.Memory):
		return fmt.Errorf("memory of %d bytes is no number of frames that begin at a page", len(c.Memory))
	case c.Ring < 64 || c.Ring > 1<<15 || c.Ring&(c.Ring-1) != 0:
		return fmt.Errorf("a ring of %d entries, want a power of two from 64 to 32768", c.Ring)
	case !c.Filter.Address.Is4() || c.Filter.Address.IsUnspecified() || c.Filter.Address.IsMulticast():
		return fmt.Errorf("address %v, want one of IPv4", c.Filter.Address)
	case c.Filter.Port == 0:
		return errors.New("the port is missing")
	}
	return nil
}

// Mode says how frames come here, as in "native, copy".
func (x *Interface) Mode() string {
	how := "copy"
	if x.queues[0].zeroCopy {
		how = "zero-copy"
	}
	return x.program.place + ", " + how
}

// ZeroCopy says that the card itself writes into the memory.
func (x *Interface) ZeroCopy() bool { return x.queues[0].zeroCopy }

// Unsummed says that local senders leave checksums to the device, which is none: the driver is one that hands packets on within the machine.
func (x *Interface) Unsummed() bool { return x.link.driver == "veth" || x.link.driver == "tun" }

// Driver is the name of the interface's driver, MAC its address, MTU the longest packet.
func (x *Interface) Driver() string { return x.link.driver }
func (x *Interface) MAC() [6]byte   { return x.link.mac }
func (x *Interface) MTU() int       { return x.link.mtu }

// Descriptors are to be polled for input; then there is something to receive.
func (x *Interface) Descriptors() []int {
	var fds []int
	for _, q := range x.queues {
		fds = append(fds, q.fd)
	}
	return fds
}

// Receive hands all frames over that have arrived, each held once, and says how many there were. data is the packet.
func (x *Interface) Receive(take func(frame uint32, data []byte)) (int, error) {
	n := 0
	for _, q := range x.queues {
		k, err := x.receive(q, take)
		if n += k; err != nil {
			return n, x.breaks(err)
		}
	}
	x.Refill()
	return n, x.broken
}

func (x *Interface) receive(q *queue, take func(uint32, []byte)) (int, error) {
	n, err := q.rx.pending()
	if err != nil {
		return 0, fmt.Errorf("receive ring: %w", err)
	}
	for range n {
		d := q.rx.take()
		f, data, ok := x.frames.received(d)
		if !ok {
			x.stats.BadDescriptors++
			continue
		}
		x.stats.FramesReceived++
		x.stats.BytesReceived += uint64(len(data))
		take(f, data)
	}
	q.rx.release()
	return n, nil
}

// Refill gives the kernel frames to receive into. Some stay here to send from.
func (x *Interface) Refill() {
	for _, q := range x.queues {
		room, err := q.fill.room()
		if err != nil {
			_ = x.breaks(err) // the next Receive returns it
			return
		}
		for ; room > 0 && len(x.frames.free) > x.reserve; room-- {
			q.fill.put(x.frames.fill())
		}
		q.fill.publish()
		if q.fill.wakes() {
			x.stats.Calls++
			wakeReceive(q.fd)
		}
	}
}

// Reserve has so many free frames stay here to send from, an eighth of all if it is not called: where others hold most frames for long, that may be more than
// there are.
func (x *Interface) Reserve(n int) {
	x.reserve = n
	x.Refill()
}

func (x *Interface) breaks(err error) error {
	if x.broken == nil {
		x.broken = fmt.Errorf("interface %s: %v", x.cfg.Name, err)
	}
	return x.broken
}

// Frame returns a free frame, held once, and its memory, or false if there is none.
func (x *Interface) Frame() (frame uint32, room []byte, ok bool) {
	if len(x.frames.free) == 0 {
		x.complete()
	}
	return x.frames.take()
}

// Hold holds a frame once more.
func (x *Interface) Hold(frame uint32) { x.frames.hold(frame) }

// Release gives up one hold of a frame.
func (x *Interface) Release(frame uint32) { x.frames.release(frame) }

// Spare is how many frames are free here.
func (x *Interface) Spare() int { return len(x.frames.free) }

// Busy says that a frame is being sent: its memory must not change.
func (x *Interface) Busy(frame uint32) bool {
	if x.frames.state[frame]&sending != 0 {
		x.complete()
	}
	return x.frames.state[frame]&sending != 0
}

// Send puts the first n bytes of a frame into the transmit ring, or says that it is full. The frame must not be Busy. [Interface.Flush]
// sends.
func (x *Interface) Send(frame uint32, n int) bool {
	q := x.queues[0]
	room, err := q.tx.room()
	if err != nil {
		_ = x.breaks(err) // the next Receive returns it
		return false
	}
	if room == 0 {
		x.stats.SendFull++
		return false
	}
	q.tx.put(x.frames.send(frame, n))
	x.stats.FramesSent++
	x.stats.BytesSent += uint64(n)
	q.unsent = true
	return true
}

// Flush has the kernel send what Send put into the ring.
func (x *Interface) Flush() error {
	q := x.queues[0]
	if q.unsent {
		q.unsent = false
		q.tx.publish()
		if err := x.kick(q); err != nil {
			return x.breaks(err)
		}
	}
	x.complete()
	return x.broken
}

// kick wakes the sender. Without a driver's help each call sends a bounded number of frames, so it is repeated until the ring is empty or
// the kernel says that it has no memory now; then the next Flush goes on.
func (x *Interface) kick(q *queue) error {
	for q.tx.wakes() {
		x.stats.Calls++
		switch err := wakeSend(q.fd); {
		case err == nil:
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			if n, err := q.tx.left(); err != nil || n == 0 {
				return err
			}
			x.complete()
			continue
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENETDOWN):
			x.stats.SendRefused++
			q.unsent = true
			return nil
		default:
			return os.NewSyscallError("sendto", err)
		}
		return nil
	}
	return nil
}

// complete takes back what was sent.
func (x *Interface) complete() {
	for _, q := range x.queues {
		n, err := q.completion.pending()
		if err != nil {
			_ = x.breaks(err) // the next Receive returns it
			return
		}
		for range n {
			if !x.frames.sent(q.completion.take()) {
				x.stats.BadDescriptors++
			}
		}
		q.completion.release()
	}
}

// Close gives everything back. The memory is no longer written to once it returns.
func (x *Interface) Close() error {
	var err error
	if x.program != nil {
		err = x.program.close()
		x.program = nil
	}
	for i := len(x.queues) - 1; i >= 0; i-- { // the first one owns the memory
		err = errors.Join(err, x.queues[i].close())
	}
	x.queues = nil
	return err
}
