package console

import (
	"encoding/binary"

	"usui/machine/virtio"
)

// Events of control messages (virtio 1.2 section 5.3.6.2).
const (
	deviceReady = 0
	portAdd     = 1
	portReady   = 3
	consolePort = 4
	resize      = 5
	portOpen    = 6
	portName    = 7
)

// controlSize is the size of struct virtio_console_control: id, event, value.
const controlSize = 8

// maxMessage is the longest message to the driver: a name.
const maxMessage = controlSize + MaxName

// say is a set of messages about one port that the driver has not got yet, the first to send in the lowest bit.
type say uint8

const (
	sayAdd say = 1 << iota
	sayConsole
	sayName
	sayOpen
	sayResize
)

// startControl serves the control queues. A driver that left one of them out cannot use it.
func (d *Console) startControl(toDriver, fromDriver *virtio.Queue) {
	if toDriver != nil {
		d.running.Go(func() { d.send(toDriver) }) // ended by Stop
	}
	if fromDriver != nil {
		d.running.Go(func() { // ended by Stop
			d.serve(fromDriver, func(c *virtio.Chain) uint32 {
				d.receive(c)
				return 0
			})
		})
	}
}

// say notes that the driver is to hear about p. It is called with mu.
func (d *Console) say(p *port, what say) {
	if d.control == nil {
		return
	}
	p.unsaid |= what
	d.control.Wake()
}

// receive takes one message of the driver.
func (d *Console) receive(c *virtio.Chain) {
	var b [controlSize]byte
	if gather(b[:], c.Out) < controlSize {
		d.ignored.Add(1)
		return
	}
	id := binary.LittleEndian.Uint32(b[0:])
	event := binary.LittleEndian.Uint16(b[4:])
	value := binary.LittleEndian.Uint16(b[6:])
	if event == deviceReady {
		d.deviceReady(value)
		return
	}
	if uint64(id) >= uint64(len(d.ports)) || d.ports[id] == nil {
		d.ignored.Add(1)
		return
	}
	switch p := d.ports[id]; event {
	case portReady:
		d.portReady(p, value)
	case portOpen:
		p.setGuestOpen(value != 0)
	default:
		d.ignored.Add(1)
	}
}

// complain logs the first complaint of the driver and drops the others, or a guest could fill the log.
func (d *Console) complain(msg string, args ...any) {
	if !d.complained.Swap(true) {
		d.log.Warn(msg, args...)
	}
}

func (d *Console) deviceReady(value uint16) {
	if value != 1 {
		d.complain("console: the driver could not set the device up")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		if p != nil {
			d.say(p, sayAdd)
		}
	}
}

// portReady tells the driver what a port is. A console counts as open from then on: Linux does not say it.
func (d *Console) portReady(p *port, value uint16) {
	if value != 1 {
		d.complain("console: the driver could not set a port up", "port", p.id, "name", p.Name)
		return
	}
	d.mu.Lock()
	p.ready = true
	what := sayOpen
	if p.Console {
		what |= sayConsole
		if d.cols != 0 || d.rows != 0 {
			what |= sayResize
		}
	}
	if p.Name != "" {
		what |= sayName
	}
	d.say(p, what)
	d.mu.Unlock()
	if p.Console {
		p.setGuestOpen(true)
	}
}

// send brings the messages to the driver as it gives buffers for them.
func (d *Console) send(q *virtio.Queue) {
	var c virtio.Chain
	var message [maxMessage]byte
	for !d.stopping.Load() {
		p, what := d.unsaid()
		if p == nil {
			q.Notify()
			if !q.Wait() { // for say: buffers alone are no reason to wake up
				return
			}
			continue
		}
		ok, err := q.Pop(&c)
		switch {
		case err != nil:
			return
		case ok:
			n := d.compose(message[:], p, what)
			if c.InLen < n { // no driver gives less than a page
				d.ignored.Add(1)
				q.Push(c.Head, 0)
				continue
			}
			scatter(c.In, message[:n])
			q.Push(c.Head, uint32(n))
		default:
			q.Notify()
			if !q.Arm() && !q.Wait() {
				return
			}
			q.Disarm()
		}
	}
}

// unsaid finds the next message: a port's first one, and ports in their order.
func (d *Console) unsaid() (*port, say) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		if p != nil && p.unsaid != 0 {
			return p, p.unsaid & -p.unsaid
		}
	}
	return nil, 0
}

// compose writes a message into b and marks it as said. It says what is true now, not what was when it was asked for.
func (d *Console) compose(b []byte, p *port, what say) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.unsaid &^= what
	head := func(event, value uint16) {
		binary.LittleEndian.PutUint32(b[0:], p.id)
		binary.LittleEndian.PutUint16(b[4:], event)
		binary.LittleEndian.PutUint16(b[6:], value)
	}
	switch what {
	case sayAdd:
		head(portAdd, 1)
	case sayConsole:
		head(consolePort, 1)
	case sayOpen:
		value := uint16(0)
		if p.hostOpen {
			value = 1
		}
		head(portOpen, value)
	case sayName:
		head(portName, 1)
		return controlSize + copy(b[controlSize:], p.Name)
	case sayResize:
		head(resize, 0)
		binary.LittleEndian.PutUint16(b[8:], d.cols)
		binary.LittleEndian.PutUint16(b[10:], d.rows)
		return controlSize + 4
	}
	return controlSize
}

// gather copies the first bytes of bufs into b and returns how many there were.
func gather(b []byte, bufs [][]byte) int {
	n := 0
	for _, s := range bufs {
		n += copy(b[n:], s)
	}
	return n
}

// scatter copies b into bufs and returns how many bytes fitted.
func scatter(bufs [][]byte, b []byte) int {
	n := 0
	for _, s := range bufs {
		n += copy(s, b[n:])
	}
	return n
}
