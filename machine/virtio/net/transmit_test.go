package net

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"usui/internal/metrics"
	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

func TestFramesFromTheGuest(t *testing.T) {
	for name, f := range ringKinds {
		t.Run(name, func(t *testing.T) {
			k := boot(t, 1, virtiotest.Config{Features: f})
			q, rnd, total := k.tx(0), rand.New(rand.NewPCG(1, 2)), uint64(0)
			const frames = 200
			for i := range frames {
				want := frame(lengths[i%len(lengths)], uint64(i))
				var bufs []virtiotest.Buffer
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 1+rnd.IntN(len(want)/(1+i%9)+1))
					if len(bufs) == 30 {
						n = len(rest)
					}
					bufs = append(bufs, k.Out(rest[:n]))
					rest = rest[n:]
				}
				if f&virtio.FeatureIndirectDesc != 0 {
					q.PutIndirect(bufs...)
				} else {
					q.Put(bufs...)
				}
				q.Publish()
				if got := k.receive(t, 0); !bytes.Equal(got, want) {
					t.Fatalf("frame %d: the peer received %d bytes, and not the %d that were sent in %d buffers", i, len(got), len(want), len(bufs))
				}
				if _, n, ok := q.Wait(); !ok || n != 0 {
					t.Fatalf("frame %d: %d bytes written, ok %v", i, n, ok)
				}
				total += uint64(len(want) - headerSize)
			}
			s := k.dev.Stats()
			if n := s.Send.Count(); n != frames {
				t.Errorf("%d frames have a time, want %d", n, frames)
			}
			s.SenderWakeups, s.Send = 0, metrics.Latency{}
			if want := (Stats{FramesSent: frames, BytesSent: total}); s != want {
				t.Errorf("Stats = %+v, want %+v", s, want)
			}
		})
	}
}

func TestMalformedFromTheGuest(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: virtio.FeatureIndirectDesc | FeatureCsum, Size: 256})
	q := k.tx(0)
	unknown := frame(60, 1)
	unknown[1] = 99
	bits := make([]virtiotest.Buffer, virtio.MaxChain)
	for i := range bits {
		bits[i] = k.Out([]byte{0})
	}
	q.PutIndirect(bits...)
	q.Put(k.In(100))
	bad := [][]byte{{1}, frame(0, 1), frame(13, 1), unknown, frame(MaxFrame, 1)}
	for _, m := range bad {
		q.Put(k.Out(m))
	}
	good := frame(60, 2)
	good[0], good[6], good[8] = 0xff, 20, 6 // flags that are not known are for nobody
	q.Put(k.Out(good))
	good[0] = needsChecksum
	q.Publish()
	if got := k.receive(t, 0); !bytes.Equal(got, good) {
		t.Errorf("the peer received % x, want % x", got, good)
	}
	for range len(bad) + 3 {
		if _, n, ok := q.Wait(); !ok || n != 0 {
			t.Fatalf("a chain came back with %d bytes, ok %v", n, ok)
		}
	}
	if s := k.dev.Stats(); s.SentMalformed != uint64(len(bad)+2) || s.FramesSent != 1 {
		t.Errorf("Stats = %+v, want %d malformed", s, len(bad)+2)
	}
}

// fill has the guest send to a peer that does not read, until the device waits for it.
func (k *card) fill(t testing.TB) (message []byte) {
	t.Helper()
	message = frame(60000, 1)
	for b := k.Out(message); k.tx(0).Free() > 0; {
		k.tx(0).Put(b)
	}
	k.tx(0).Publish()
	until(func() bool { return k.dev.Stats().SenderWaits > 0 })
	return message
}

// TestPeerThatNeverReads blocks one direction of one queue pair and nothing else.
func TestPeerThatNeverReads(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures})
	k.call(t, k.ctrl(), classPairs, pairsSet, 2, 0)
	want := k.fill(t)
	k.sends(t, 1)                   // another queue pair
	k.receives(t, 0)                // the other direction
	for i := range k.tx(0).Size() { // once it reads, all that waited comes
		if got := k.receive(t, 0); !bytes.Equal(got, want) {
			t.Fatalf("frame %d of those that waited is another one", i)
		}
	}
}

func TestStopWhileTheBackendIsFull(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ})
	k.fill(t)
	k.dev.Stop()
	returned := 0
	for _, _, ok := k.tx(0).Take(); ok; _, _, ok = k.tx(0).Take() {
		returned++
	}
	if s := k.dev.Stats(); returned == 0 || s.SentDropped != 1 || uint64(returned) != s.FramesSent+1 {
		t.Errorf("%d chains came back, Stats = %+v; want the one that waited dropped", returned, s)
	}
}
