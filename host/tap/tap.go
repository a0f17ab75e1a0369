package tap

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// HeaderSize is the length of the header in front of each frame (virtio 1.2 section 5.1.6).
const HeaderSize = 12

// MaxQueues is the kernel's MAX_TAP_QUEUES.
const MaxQueues = 256

// Tap is a tap interface that is held open. Its methods may not be called at the same time.
type Tap struct {
	name   string
	queues []int  // descriptors
	off    []bool // by queue: switched off
}

// Make makes an interface named usui0, usui1 or so, with its link up. It goes away with Close.
func Make(queues int) (*Tap, error) { return open("usui%d", queues, true) }

// Open uses the interface of that name, which must be a tap.
func Open(name string, queues int) (*Tap, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := Exists(name); err != nil {
		return nil, err
	}
	return open(name, queues, false)
}

func open(name string, queues int, made bool) (_ *Tap, err error) {
	if queues < 1 || queues > MaxQueues {
		return nil, fmt.Errorf("tap %s: %d queues, want 1 to %d", name, queues, MaxQueues)
	}
	t := &Tap{name: name, off: make([]bool, queues)}
	defer func() {
		if err != nil {
			_ = t.Close() // the error that led here tells more
		}
	}()
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	for range queues {
		err := t.addQueue(flags)
		if err == unix.EINVAL && queues == 1 && !made { // it has several queues, of which one will do
			flags |= unix.IFF_MULTI_QUEUE
			err = t.addQueue(flags)
		}
		if err != nil {
			return nil, t.explain(err, made)
		}
	}
	if err := t.up(); err != nil {
		return nil, err
	}
	return t, nil
}

// addQueue opens one more descriptor. With the first the interface has its name.
func (t *Tap) addQueue(flags uint16) error {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: device, Err: err}
	}
	request, err := unix.NewIfreq(t.name)
	if err == nil {
		request.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, HeaderSize)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	t.name = request.Name()
	t.queues = append(t.queues, fd)
	return nil
}

// Name is the interface's.
func (t *Tap) Name() string { return t.name }

// Queues are the descriptors, non-blocking, one for each queue. They stay owned by t.
func (t *Tap) Queues() []int { return t.queues }

// SetQueue switches a queue on or off. While it is off, nothing arrives at its descriptor. All are on at first.
func (t *Tap) SetQueue(i int, on bool) error {
	if t.off[i] == !on {
		return nil
	}
	request, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_DETACH_QUEUE)
	if on {
		request.SetUint16(unix.IFF_ATTACH_QUEUE)
	}
	if err := unix.IoctlIfreq(t.queues[i], unix.TUNSETQUEUE, request); err != nil {
		return fmt.Errorf("tap %s: switch queue %d: %w", t.name, i, err)
	}
	t.off[i] = !on
	return nil
}

// Close gives the interface up, and removes it if it was made.
func (t *Tap) Close() error {
	var errs []error
	for _, fd := range t.queues {
		errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
	}
	t.queues = nil
	return errors.Join(errs...)
}
