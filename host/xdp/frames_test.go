package xdp

import (
	"errors"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzFrames has a kernel that lies: whatever its rings say, no frame is handed over twice, and each that the kernel had comes back at most
// once.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 1, 0, 2, 0, 3, 0, 4, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		const n, size = 8, 2048
		fs := newFrames(make([]byte, n*size), size, nil)
		held := map[uint32]int{}
		for len(script) >= 2 {
			what, arg := script[0], uint64(script[1])
			script = script[2:]
			switch what % 6 {
			case 0:
				if len(fs.free) > 0 {
					fs.fill()
				}
			case 1, 2: // an entry of a receive ring; the bits of arg choose frame, offset and length
				d := unix.XDPDesc{Addr: (arg & 15) * size, Len: uint32(arg) << 4}
				if what%6 == 2 {
					d = unix.XDPDesc{Addr: arg<<56 | arg<<8, Len: uint32(arg << 24), Options: uint32(arg & 1)}
				}
				if frame, data, ok := fs.received(d); ok {
					if held[frame] > 0 || len(data) > size {
						t.Fatalf("frame %d with %d bytes was handed over again", frame, len(data))
					}
					held[frame]++
				}
			case 3:
				fs.sent(arg * 512)
			case 4:
				for frame := range held {
					if fs.state[frame] == 0 && arg&1 == 0 {
						fs.send(frame, int(arg))
					} else {
						fs.release(frame)
						delete(held, frame)
					}
					break
				}
			case 5:
				if frame, _, ok := fs.take(); ok {
					if held[frame] > 0 {
						t.Fatalf("frame %d was given out again", frame)
					}
					held[frame]++
				}
			}
			seen := map[uint32]bool{}
			for _, frame := range fs.free {
				if seen[frame] || held[frame] > 0 || fs.state[frame] != 0 {
					t.Fatalf("frame %d is free and held, or free twice", frame)
				}
				seen[frame] = true
			}
		}
	})
}

func TestImpossibleIndicesEndTheRing(t *testing.T) {
	r := ring[uint64]{producer: new(atomic.Uint32), consumer: new(atomic.Uint32), entries: make([]uint64, 4)}
	r.producer.Store(5)
	if _, err := r.pending(); !errors.Is(err, errIndex) {
		t.Errorf("pending() of 5 in a ring of 4 = %v", err)
	}
	r.consumer.Store(1)
	if _, err := r.room(); !errors.Is(err, errIndex) {
		t.Errorf("room() of a consumer that is ahead = %v", err)
	}
	r.mine = 1<<32 - 2 // indices wrap
	r.consumer.Store(1<<32 - 2)
	for i := range uint64(4) {
		r.put(i)
	}
	r.publish()
	if room, err := r.room(); room != 0 || err != nil || r.producer.Load() != 2 {
		t.Errorf("room() of a full ring = %d, %v; producer %d", room, err, r.producer.Load())
	}
}
