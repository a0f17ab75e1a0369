package net

import (
	"bytes"
	"testing"
	"time"

	"usui/machine/limit"
	"usui/machine/virtio/virtiotest"
)

// perSecond is a limit without anything saved up.
func perSecond(t *testing.T, ops, bytes uint64) (p limit.Pair) {
	t.Helper()
	var err error
	if ops > 0 {
		if p.Ops, err = limit.New(ops, 0); err != nil {
			t.Fatal(err)
		}
	}
	if bytes > 0 {
		if p.Bytes, err = limit.New(bytes, 0); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestLimitKeepsTimeAndFrames checks that frames come through a limit late, all, and in order.
func TestLimitKeepsTimeAndFrames(t *testing.T) {
	const frames, rate = 100, 1000
	for name, l := range map[string]limit.Pair{"operations": perSecond(t, rate, 0), "bytes": perSecond(t, 0, rate*60)} {
		k := bootWith(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ}, Config{Receive: l, Send: l})
		began := time.Now()
		posted := chainsOf{}
		for i := range frames {
			want := frame(60, uint64(i))
			k.tx(0).Add(k.Out(want))
			if got := k.receive(t, 0); !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d from the guest is another one", name, i)
			}
			if _, _, ok := k.tx(0).Wait(); !ok {
				t.Fatal(k.Broken())
			}
			k.offer(k.rx(0), posted, 1536)
			k.rx(0).Publish()
			k.send(t, 0, want)
			if got, _ := k.take(t, k.rx(0), posted); !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d to the guest is another one", name, i)
			}
		}
		// Both directions draw on one bucket here; the first frame costs no time.
		if took, least := time.Since(began), (2*frames-1)*time.Second/rate; took < least {
			t.Errorf("%s: %d frames took %v, want %v at least", name, 2*frames, took, least)
		}
	}
}

// TestStopWhileALimitHolds has a limit keep a frame back for an hour in each direction.
func TestStopWhileALimitHolds(t *testing.T) {
	k := bootWith(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ}, Config{Receive: perSecond(t, 0, 1), Send: perSecond(t, 0, 1)})
	posted := chainsOf{}
	for i := range 2 {
		k.tx(0).Add(k.Out(frame(60000, uint64(i))))
		k.offer(k.rx(0), posted, 60100)
		k.rx(0).Publish()
		k.send(t, 0, frame(60000, uint64(i)))
	}
	until(func() bool { s := k.dev.Stats(); return s.SenderHeld > 0 && s.ReceiverHeld > 0 })
	k.dev.Stop()
	if s := k.dev.Stats(); s.FramesSent != 1 || s.FramesReceived != 1 || s.SentDropped != 0 {
		t.Errorf("Stats = %+v, want one frame each way and none dropped", s)
	}
}

// TestTapThatGoesWhileALimitHolds sees the end of what is behind a card that a limit keeps waiting for an hour.
func TestTapThatGoesWhileALimitHolds(t *testing.T) {
	for name, c := range map[string]Config{"receive": {Receive: perSecond(t, 0, 1)}, "send": {Send: perSecond(t, 0, 1)}} {
		k := bootWith(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ}, c)
		posted := chainsOf{}
		for i := range 2 {
			if name == "send" {
				k.tx(0).Add(k.Out(frame(60000, uint64(i))))
				continue
			}
			k.offer(k.rx(0), posted, 60100)
			k.rx(0).Publish()
			k.send(t, 0, frame(60000, uint64(i)))
		}
		until(func() bool { s := k.dev.Stats(); return s.SenderHeld+s.ReceiverHeld > 0 })
		k.hangUp(0)
		until(func() bool { return k.changes.Load() > 0 })
		if n := k.log.count(); n != 1 {
			t.Errorf("%s: %d log lines, want 1", name, n)
		}
	}
}

func TestVhostKeepsNoLimit(t *testing.T) {
	s, _ := sockets(t, 1)
	if _, err := New(Config{Backend: s, MAC: testMAC, Vhost: true, Send: perSecond(t, 1, 0)}); err == nil {
		t.Error("New with vhost and a limit = nil error")
	}
}
