package net

import (
	"bytes"
	"testing"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

// ringKinds are what decides how a driver and a device talk.
var ringKinds = map[string]uint64{
	"mergeable": FeatureMrgRxBuf | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc, "mergeable, plain ring": FeatureMrgRxBuf,
	"whole": virtio.FeatureEventIdx, "whole, plain ring": 0,
}

// lengths of frames: the smallest, ordinary ones, and large packets.
var lengths = []int{14, 60, 64, 1500, 1514, 3000, 9014, largeFrame - headerSize}

// ringSize is enough for the largest frame, whatever its chains look like, and for few of them where each takes a whole one.
func ringSize(features uint64) uint16 {
	if features&FeatureMrgRxBuf != 0 {
		return 256
	}
	return 8
}

func TestFramesToTheGuest(t *testing.T) {
	for name, f := range ringKinds {
		t.Run(name, func(t *testing.T) {
			k := boot(t, 1, virtiotest.Config{Features: f | FeatureGuestCsum | FeatureGuestTSO4, Size: ringSize(f)})
			q, posted, total := k.rx(0), chainsOf{}, uint64(0)
			offer := func() {
				for q.Free() >= 4 {
					if f&FeatureMrgRxBuf != 0 {
						k.offer(q, posted, [][]int{{1536}, {4096}, {5, 6, 7, 1000}, {headerSize, 500}}[len(posted)%4]...)
					} else {
						k.offer(q, posted, [][]int{{70000}, {1, 11, 65550}, {headerSize, 65550}}[len(posted)%3]...)
					}
				}
				q.Publish()
			}
			const frames = 60 // the memory of the guest that is not there holds no more whole ones
			for i := range frames {
				want := frame(lengths[i%len(lengths)], uint64(i))
				offer()
				k.send(t, 0, want)
				got, spread := k.take(t, q, posted)
				if !bytes.Equal(got, want) {
					t.Fatalf("frame %d: the guest received %d bytes in %d chains, and not the %d that were sent", i, len(got), spread, len(want))
				}
				if f&FeatureMrgRxBuf == 0 && spread != 1 {
					t.Fatalf("frame %d is spread over %d chains", i, spread)
				}
				total += uint64(len(want) - headerSize)
			}
			s := k.dev.Stats()
			s.ReceiverWakeups, s.ReceivedSpilled = 0, 0
			if want := (Stats{FramesReceived: frames, BytesReceived: total}); s != want {
				t.Errorf("Stats = %+v, want %+v", s, want)
			}
		})
	}
}

// TestShortOfBuffers sends a large packet to a driver that has one small buffer up, and then gives more.
func TestShortOfBuffers(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures})
	q, posted := k.rx(0), chainsOf{}
	k.offer(q, posted, 1000)
	q.Publish()
	want := frame(10000, 1)
	k.send(t, 0, want)
	until(func() bool { return k.unread(t, 0) == 0 })
	for range 19 {
		k.offer(q, posted, 3, 497)
		q.Publish()
	}
	if got, spread := k.take(t, q, posted); !bytes.Equal(got, want) || spread != 20 {
		t.Errorf("the guest received %d bytes in %d chains, want the %d that were sent in 20", len(got), spread, len(want))
	}
	if s := k.dev.Stats(); s.ReceivedSpilled != 19 {
		t.Errorf("Stats = %+v, want 19 chains filled by copying", s)
	}
}

// TestFrameThatDoesNotFit is dropped; the chain that it did not fit is there for the next.
func TestFrameThatDoesNotFit(t *testing.T) {
	for name, c := range map[string]virtiotest.Config{
		"whole":          {},
		"mergeable ring": {Features: FeatureMrgRxBuf, Size: 4},
	} {
		t.Run(name, func(t *testing.T) {
			k := boot(t, 1, c)
			q, posted := k.rx(0), chainsOf{}
			for q.Free() > 0 {
				k.offer(q, posted, 200)
			}
			q.Publish()
			k.send(t, 0, frame(200*q.Size(), 1))
			k.send(t, 0, frame(MaxFrame+100, 1))
			want := frame(100, 2)
			k.send(t, 0, want)
			if got, _ := k.take(t, q, posted); !bytes.Equal(got, want) {
				t.Errorf("the guest received %d bytes, want the %d of the frame that fits", len(got), len(want))
			}
			if s := k.dev.Stats(); s.ReceivedTooLong != 2 || s.FramesReceived != 1 {
				t.Errorf("Stats = %+v, want 2 frames dropped", s)
			}
		})
	}
}

// TestHeldByManyTinyBuffers has chains whose buffers are bytes: what cannot be read by one call is not held.
func TestHeldByManyTinyBuffers(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf | virtio.FeatureIndirectDesc})
	q, posted := k.rx(0), chainsOf{}
	for range 4 {
		b := make([]virtiotest.Buffer, virtio.MaxChain)
		for i := range b {
			b[i] = k.In(1)
		}
		posted[q.PutIndirect(b...)] = b
	}
	q.Publish()
	for i := range 4 {
		k.send(t, 0, frame(20000, 1))
		want := frame(400, uint64(i))
		k.send(t, 0, want)
		if got, spread := k.take(t, q, posted); !bytes.Equal(got, want) || spread != 1 {
			t.Errorf("the guest received %d bytes in %d chains, want %d in 1", len(got), spread, len(want))
		}
	}
	if s := k.dev.Stats(); s.ReceivedTooLong != 4 {
		t.Errorf("Stats = %+v, want 4 frames dropped", s)
	}
}

// messages that a peer may not send: each is dropped, and what follows is not.
func TestMalformedToTheGuest(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf | FeatureGuestCsum | FeatureGuestTSO4})
	q, posted := k.rx(0), chainsOf{}
	k.offer(q, posted, 100)
	q.Publish()
	large := frame(2000, 1)
	large[0], large[1], large[4], large[6], large[8] = needsChecksum, gsoTCP6, 1, 34, 16 // the driver did not accept GUEST_TSO6
	bad := [][]byte{{1}, frame(0, 1), frame(13, 1), large}
	for _, m := range bad {
		k.send(t, 0, m)
	}
	want := frame(60, 2)
	want[0] = dataValid
	k.send(t, 0, want)
	// The large one needs more chains before the device looks at it.
	for q.Free() > 0 {
		k.offer(q, posted, 100)
	}
	q.Publish()
	if got, _ := k.take(t, q, posted); !bytes.Equal(got, want) {
		t.Errorf("the guest received % x, want % x", got, want)
	}
	if s := k.dev.Stats(); s.ReceivedMalformed != uint64(len(bad)) {
		t.Errorf("Stats = %+v, want %d malformed", s, len(bad))
	}
}

func TestChainsWithoutRoom(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf})
	q, posted := k.rx(0), chainsOf{}
	q.Put(k.In(headerSize - 1))
	q.Put(k.Out(make([]byte, 100)))
	k.offer(q, posted, headerSize)
	k.offer(q, posted, 1000)
	q.Publish()
	for range 2 {
		if _, n, ok := q.Wait(); !ok || n != 0 {
			t.Errorf("a chain came back with %d bytes, ok %v", n, ok)
		}
	}
	want := frame(100, 1)
	k.send(t, 0, want)
	if got, spread := k.take(t, q, posted); !bytes.Equal(got, want) || spread != 2 {
		t.Errorf("the guest received %d bytes in %d chains, want %d in 2", len(got), spread, len(want))
	}
	if s := k.dev.Stats(); s.ChainsWithoutRoom != 2 {
		t.Errorf("Stats = %+v, want 2 without room", s)
	}
}

// TestOneInterruptForManyFrames lets frames wait for the driver's buffers.
func TestOneInterruptForManyFrames(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf})
	q, posted := k.rx(0), chainsOf{}
	const frames = batchFrames - 1
	for i := range frames {
		k.send(t, 0, frame(60, uint64(i)))
	}
	for range frames {
		k.offer(q, posted, 1536)
	}
	q.Publish()
	for i := range frames {
		if got, _ := k.take(t, q, posted); !bytes.Equal(got, frame(60, uint64(i))) {
			t.Fatalf("frame %d is another one", i)
		}
	}
	k.Stop()
	if n := q.Interrupts(); n != 1 {
		t.Errorf("%d interrupts for %d frames, want 1", n, frames)
	}
}
