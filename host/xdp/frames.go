package xdp

import "golang.org/x/sys/unix"

// frames knows where each frame is. What the kernel says of a frame is believed only if it fits that.
type frames struct {
	memory []byte
	size   int
	free   []uint32
	state  []byte
	holds  []uint16
}

// Where a frame is; 0 is here.
const (
	filling byte = 1 << iota // the kernel may write into it
	sending                  // the kernel reads it
)

// newFrames makes frames of memory; held has how often each is held already, nil for none.
func newFrames(memory []byte, size int, held []uint16) *frames {
	n := len(memory) / size
	f := &frames{memory: memory, size: size, free: make([]uint32, 0, n), state: make([]byte, n), holds: make([]uint16, n)}
	copy(f.holds, held)
	for i := n - 1; i >= 0; i-- {
		if f.holds[i] == 0 {
			f.free = append(f.free, uint32(i))
		}
	}
	return f
}

func (f *frames) count() int { return len(f.state) }

func (f *frames) bytes(frame uint32) []byte {
	at := int(frame) * f.size
	return f.memory[at : at+f.size : at+f.size]
}

func (f *frames) pop() uint32 {
	n := len(f.free) - 1
	frame := f.free[n]
	f.free = f.free[:n]
	return frame
}

func (f *frames) take() (uint32, []byte, bool) {
	if len(f.free) == 0 {
		return 0, nil, false
	}
	frame := f.pop()
	f.holds[frame] = 1
	return frame, f.bytes(frame), true
}

func (f *frames) hold(frame uint32) {
	if f.holds[frame] == 0 || f.holds[frame] == 1<<16-1 {
		panic("BUG: hold of a frame that is free, or of one too many")
	}
	f.holds[frame]++
}

func (f *frames) release(frame uint32) {
	if f.holds[frame] == 0 {
		panic("BUG: release of a frame that nobody holds")
	}
	if f.holds[frame]--; f.holds[frame] == 0 && f.state[frame] == 0 {
		f.free = append(f.free, frame)
	}
}

// fill returns the address of a frame that the kernel may write into from now on. There must be a free one.
func (f *frames) fill() uint64 {
	frame := f.pop()
	f.state[frame] = filling
	return uint64(frame) * uint64(f.size)
}

// received says which frame an entry of a receive ring is about, and holds it. A frame that the kernel had comes back even if the rest of
// the entry is nonsense.
func (f *frames) received(d unix.XDPDesc) (frame uint32, data []byte, ok bool) {
	index, off := d.Addr/uint64(f.size), d.Addr%uint64(f.size)
	if index >= uint64(len(f.state)) || f.state[index] != filling {
		return 0, nil, false
	}
	frame = uint32(index)
	f.state[frame] = 0
	if off+uint64(d.Len) > uint64(f.size) || d.Options != 0 {
		f.free = append(f.free, frame)
		return 0, nil, false
	}
	f.holds[frame] = 1
	p := f.bytes(frame)
	return frame, p[off : off+uint64(d.Len)], true // the rest of the frame is its holder's, too
}

// send returns the entry that sends a frame's first n bytes.
func (f *frames) send(frame uint32, n int) unix.XDPDesc {
	if f.state[frame] != 0 || f.holds[frame] == 0 || n > f.size {
		panic("BUG: send of a frame that is not the caller's")
	}
	f.state[frame] = sending
	return unix.XDPDesc{Addr: uint64(frame) * uint64(f.size), Len: uint32(n)}
}

// sent takes a frame back from the completion ring.
func (f *frames) sent(addr uint64) bool {
	index := addr / uint64(f.size)
	if index >= uint64(len(f.state)) || f.state[index] != sending {
		return false
	}
	f.state[index] = 0
	if f.holds[index] == 0 {
		f.free = append(f.free, uint32(index))
	}
	return true
}
