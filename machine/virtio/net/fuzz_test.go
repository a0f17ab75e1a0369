package net

import (
	"testing"

	"usui/machine/virtio/virtiotest"
)

// FuzzDriver lets bytes choose what a driver does on all queues, while a peer sends and reads. The device must survive, and stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 40, 0, 0, 0, 0, 250, 0, 221, 9}, true)
	f.Add([]byte{1, 0, 1, 0, 39, 1, 1, 0, 0, 34, 0, 16, 0, 4, 0, 1, 1, 3, 4, 0, 0}, false)
	f.Fuzz(func(t *testing.T, script []byte, mergeable bool) {
		features := uint64(allFeatures)
		if !mergeable {
			features &^= FeatureMrgRxBuf
		}
		k := boot(t, 2, virtiotest.Config{Features: features})
		for i := range k.peers {
			k.send(t, i, frame(5000, 1))
			k.send(t, i, script[:min(len(script), 100)])
			k.send(t, i, frame(60, 1))
		}
		virtiotest.Script(k.Driver, script)
		k.Stop()
	})
}

// FuzzCommand sends one command and an honest one after it.
func FuzzCommand(f *testing.F) {
	f.Add([]byte{classPairs, pairsSet, 2, 0})
	f.Add([]byte{classAnnounce, announceAck})
	f.Fuzz(func(t *testing.T, command []byte) {
		if len(command) == 0 {
			return
		}
		k := boot(t, 2, virtiotest.Config{Features: allFeatures})
		if got := k.call(t, k.ctrl(), command...); got > answerErr {
			t.Errorf("answer %d", got)
		}
		if got := k.call(t, k.ctrl(), classPairs, pairsSet, 2, 0); got != answerOK {
			t.Errorf("answer %d to an honest command", got)
		}
	})
}

// FuzzPeer lets bytes choose what a peer sends to an honest driver. What it receives makes sense, and a good frame gets through at the end.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{40, 1, gsoTCP4, 54, 0, 100, 0, 34, 0, 16, 0}, uint64(OffloadFeatures))
	f.Add([]byte{255, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0}, uint64(0))
	f.Fuzz(func(t *testing.T, script []byte, features uint64) {
		features &= OffloadFeatures | FeatureMrgRxBuf
		k := boot(t, 1, virtiotest.Config{Features: features})
		q, posted, may := k.rx(0), chainsOf{}, workForGuest(features)
		for q.Free() > 1 {
			k.offer(q, posted, 5, 700)
		}
		q.Publish()
		for range 20 {
			if len(script) == 0 {
				break
			}
			m := make([]byte, 1+int(script[0])*int(script[0])%3000)
			script = script[1+copy(m, script[1:]):]
			k.send(t, 0, m)
		}
		last := frame(42, 7)
		k.send(t, 0, last)
		for {
			m, spread := k.take(t, q, posted)
			h := header(m)
			if len(m) < MinFrame || !h.check(len(m)-headerSize, may) || features&FeatureMrgRxBuf == 0 && spread != 1 {
				t.Fatalf("the guest received % x in %d chains", m[:min(len(m), 40)], spread)
			}
			if string(m) == string(last) {
				return
			}
			for q.Free() > 1 {
				k.offer(q, posted, 5, 700)
			}
			q.Publish()
		}
	})
}
