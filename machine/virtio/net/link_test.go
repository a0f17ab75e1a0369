package net

import (
	"encoding/binary"
	"testing"

	"usui/machine/virtio/virtiotest"
)

func (k *card) status() uint16 {
	var b [2]byte
	k.dev.ReadConfig(b[:], 6)
	return binary.LittleEndian.Uint16(b[:])
}

func TestAnnounce(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ})
	if s, n := k.status(), k.changes.Load(); s != statusLinkUp || n != 0 {
		t.Errorf("status %d after %d changes, want the link up", s, n)
	}
	k.dev.Announce()
	if s, n := k.status(), k.changes.Load(); s != statusLinkUp|statusAnnounce || n != 1 {
		t.Errorf("status %d after %d changes, want the driver to be asked once", s, n)
	}
	k.call(t, k.ctrl(), classAnnounce, announceAck)
	if s := k.status(); s != statusLinkUp {
		t.Errorf("status %d after the driver answered", s)
	}
	k.dev.Announce()
	k.Stop()
	k.dev.Announce() // nobody is there
	if s, n := k.status(), k.changes.Load(); s != statusLinkUp || n != 2 {
		t.Errorf("status %d after %d changes while stopped", s, n)
	}
}

// TestBackendDies closes the peer's end.
func TestBackendDies(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ})
	posted := chainsOf{}
	k.offer(k.rx(0), posted, 1536)
	k.rx(0).Publish()
	k.hangUp(0)
	until(func() bool { return k.changes.Load() > 0 })
	for range 3 {
		if s := k.status(); s != 0 {
			t.Errorf("status %d, want the link down", s)
		}
		for range 200 { // the guest may go on sending
			k.tx(0).Add(k.Out(frame(60, 1)))
			k.tx(0).Wait()
		}
		k.Restart()
	}
	if s := k.dev.Stats(); s.SentDropped != 600 || k.changes.Load() != 1 || k.log.count() != 1 {
		t.Errorf("Stats = %+v, %d changes, %d log lines; want 600 frames dropped and 1 of each", s, k.changes.Load(), k.log.count())
	}
}

// TestBackendDiesWhileItIsFull has the guest's frame wait for a peer that goes away.
func TestBackendDiesWhileItIsFull(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ, Missing: []int{0}})
	k.fill(t)
	k.hangUp(0)
	for range k.tx(0).Size() {
		k.tx(0).Wait()
	}
	if k.status() != 0 {
		t.Error("the link is up")
	}
}
