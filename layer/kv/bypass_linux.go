package kv

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"usui/host/tcp"
	"usui/host/xdp"
	"usui/layer/kv/disk"
	"usui/layer/kv/server"
)

// Bypass is a way for clients past the kernel's network stack.
type Bypass struct {
	Interface   string     // empty for none
	Address     netip.Addr // which the kernel does not have; the zero value is the interface's own
	Port        uint16
	MemoryBytes int // for frames

	// Device has the frames instead, and values that come in them stay there; nil for none. It stays the caller's.
	Device *disk.Device
}

// bypass is what one takes. Each part may be nil, half-built.
type bypass struct {
	memory []byte
	card   *xdp.Interface
	server.Bypass
}

// bypassFrame is the length of a frame: a packet of 1500 bytes and what the kernel keeps in front of it fit.
const bypassFrame = 2048

// openBypass takes the frames of an address and port from an interface. device has the memory for them, if it is not nil.
func openBypass(cfg Bypass, clients int, device *frames) (_ *bypass, err error) {
	b := &bypass{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	own := cfg.Address.IsValid()
	if !own {
		if cfg.Address, err = xdp.Address(cfg.Interface); err != nil {
			return nil, err
		}
	}
	link := xdp.Config{Name: cfg.Interface, FrameBytes: bypassFrame, Filter: xdp.Filter{Address: cfg.Address, Port: cfg.Port, Own: own}}
	if device != nil {
		link.Memory, link.Held = device.memory, device.held
	} else {
		b.memory, err = unix.Mmap(-1, 0, cfg.MemoryBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return nil, os.NewSyscallError("mmap", err)
		}
		link.Memory = b.memory
	}
	if b.card, err = xdp.Open(link); err != nil {
		return nil, err
	}
	frames := len(link.Memory) / bypassFrame
	if device != nil {
		if frames, err = device.share(b.card); err != nil {
			return nil, err
		}
	}
	all, parts := frames, frames/8
	frames -= parts + frames/8 + xdp.DefaultRing*len(b.card.Descriptors()) // those that wait to be received into, and what answers without a connection
	if frames < 4 {
		return nil, fmt.Errorf("interface %s: %d frames are too few for its %d queues: give it more memory or fewer queues", cfg.Interface, all, len(b.card.Descriptors()))
	}
	stack, err := tcp.New(tcp.Config{Link: b.card, MAC: b.card.MAC(), Address: cfg.Address, Port: cfg.Port, MTU: b.card.MTU(), Own: own, Unsummed: b.card.Unsummed(),
		Connections: min(clients, frames/4), Frames: frames})
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", cfg.Interface, err)
	}
	b.Bypass = server.Bypass{Card: b.card, Stack: stack, Address: netip.AddrPortFrom(cfg.Address, cfg.Port), Parts: parts}
	if device != nil {
		b.Device = device
	}
	return b, nil
}

// String says where it is and how frames come.
func (b *bypass) String() string { return fmt.Sprintf("%v (%s)", b.Address, b.card.Mode()) }

func (b *bypass) close() error {
	if b == nil {
		return nil
	}
	var err error
	if b.card != nil {
		err = b.card.Close()
	}
	if b.memory != nil {
		err = errors.Join(err, os.NewSyscallError("munmap", unix.Munmap(b.memory)))
	}
	return err
}
