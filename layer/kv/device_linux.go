package kv

import (
	"crypto/rand"
	"fmt"

	"usui/host/xdp"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// frames is the memory of a DAX device, cut into the frames of the bypass, with what values hold of it. It implements [engine.Device].
type frames struct {
	device     *disk.Device
	memory     []byte
	held, live []uint16 // holds of each frame for values; of those that have not departed
	values     int      // frames that are held
	alive      int      // pieces that have not departed
	most       int      // from here on they are few
	card       *xdp.Interface
}

// newFrames makes frames of a device, which has to be that of the store in the folder or nobody's. bind makes it that store's for good.
func newFrames(device *disk.Device, folder disk.Folder) (f *frames, bind func() error, err error) {
	memory := device.Frames()
	n := min(len(memory)/bypassFrame, maxFrames)
	f = &frames{device: device, memory: memory[:n*bypassFrame], held: make([]uint16, n), live: make([]uint16, n)}
	var fresh, has engine.Identity
	_, _ = rand.Read(fresh[:]) // never fails
	err = disk.Guard("read the device", func() (err error) {
		has, err = device.Identity()
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	bind, err = engine.BindDevice(folder, fresh, has, func(id engine.Identity) error { return device.SetIdentity(id) })
	return f, bind, err
}

// share leaves frames to the network: as many as it can use, a half if that is less, and four times what lies in the rings of its queues.
func (f *frames) share(card *xdp.Interface) (network int, err error) {
	f.card = card
	queues := len(card.Descriptors())
	network = max(min(len(f.held)/2, maxNetworkFrames), 4*xdp.DefaultRing*queues)
	if n := 2 * network * bypassFrame; len(f.memory) < n && network > len(f.held)/2 {
		return 0, fmt.Errorf("the device has %d bytes for frames; for %d queues it takes %d: give the interface fewer (ethtool -L), or another device", len(f.memory), queues, n)
	}
	f.most = len(f.held) - network
	card.Reserve(network / 8)
	return network, nil
}

// Bounds of frames: the network's are 128 MiB of them at most; the kernel has tables for all, which take a sixteenth of the memory for each queue.
const (
	maxNetworkFrames = 128 << 20 / bypassFrame
	maxFrames        = 16 << 30 / bypassFrame
)

// Bytes implements [engine.Device].
func (f *frames) Bytes(p engine.Piece) []byte {
	if p.Len == 0 || p.Off >= uint64(len(f.memory)) || p.Off%bypassFrame+uint64(p.Len) > bypassFrame {
		return nil
	}
	return f.memory[p.Off : p.Off+uint64(p.Len) : p.Off+uint64(p.Len)]
}

// Piece says where on the device bytes lie, or false if they are not all in a frame of it.
func (f *frames) Piece(p []byte) (engine.Piece, bool) {
	off, ok := offsetIn(f.memory, p)
	piece := engine.Piece{Off: off, Len: uint32(len(p))}
	return piece, ok && f.Bytes(piece) != nil
}

// Flush implements [engine.Device].
func (f *frames) Flush(pieces []engine.Piece) error {
	return disk.Guard("write to the device", func() error {
		for _, p := range pieces {
			f.device.Flush(f.Bytes(p))
		}
		f.device.Fence()
		return nil
	})
}

// Hold implements [engine.Device]. Before there is a card, it takes note for it.
func (f *frames) Hold(p engine.Piece) {
	at := p.Off / bypassFrame
	if f.held[at] == 0 {
		f.values++
	}
	f.held[at]++
	f.live[at]++
	f.alive++
	if f.card != nil {
		f.card.Hold(uint32(at))
	}
}

// Depart implements [engine.Device].
func (f *frames) Depart(p engine.Piece) {
	f.live[p.Off/bypassFrame]--
	f.alive--
}

// Release implements [engine.Device].
func (f *frames) Release(p engine.Piece) { f.release(int(p.Off/bypassFrame), 1) }

func (f *frames) release(at int, n uint16) {
	if f.held[at] -= n; f.held[at] == 0 {
		f.values--
	}
	for range n {
		f.card.Release(uint32(at))
	}
}

// Forget implements [engine.Device].
func (f *frames) Forget() (release func()) {
	if f.alive == 0 {
		return nil
	}
	type holds struct {
		at int
		n  uint16
	}
	var gone []holds
	for at, n := range f.live {
		if n > 0 {
			gone = append(gone, holds{at, n})
		}
	}
	clear(f.live)
	f.alive = 0
	return func() {
		for _, h := range gone {
			f.release(h.at, h.n)
		}
	}
}

// Scarce implements [engine.Device].
func (f *frames) Scarce() bool { return f.values >= f.most }

// Values is how many frames hold values, and how many there may be.
func (f *frames) Values() (held, most int) { return f.values, f.most }
