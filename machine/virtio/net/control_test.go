package net

import (
	"bytes"
	"testing"

	"usui/machine/virtio/virtiotest"
)

// call sends a command and returns the answer.
func (k *card) call(t testing.TB, q *virtiotest.Queue, command ...byte) byte {
	t.Helper()
	answer := k.In(1)
	q.Add(k.Out(command), answer)
	if _, n, ok := q.Wait(); !ok || n != 1 {
		t.Fatalf("command % x: answer of %d bytes, ok %v", command, n, ok)
	}
	return k.Bytes(answer)[0]
}

func TestCommands(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures})
	for _, tt := range []struct {
		command []byte
		want    byte
	}{
		{[]byte{0}, answerErr},
		{[]byte{0, 0, 1}, answerErr}, // promiscuous: not offered
		{[]byte{classPairs, pairsSet}, answerErr},
		{[]byte{classPairs, pairsSet, 1}, answerErr},
		{[]byte{classPairs, pairsSet, 0, 0}, answerErr},
		{[]byte{classPairs, pairsSet, 3, 0}, answerErr},
		{[]byte{classPairs, pairsSet, 2, 1}, answerErr},
		{[]byte{classPairs, 1, 2, 0}, answerErr},
		{[]byte{classPairs, pairsSet, 2, 0}, answerOK},
		{[]byte{classPairs, pairsSet, 1, 0, 99}, answerOK},
		{[]byte{classAnnounce, announceAck}, answerOK},
		{[]byte{classAnnounce, 1}, answerErr},
		{make([]byte, 100000), answerErr},
	} {
		if got := k.call(t, k.ctrl(), tt.command...); got != tt.want {
			t.Errorf("command % x: answer %d, want %d", tt.command[:min(8, len(tt.command))], got, tt.want)
		}
	}
	k.ctrl().Add(k.Out([]byte{classAnnounce, announceAck})) // no room for an answer
	if _, n, ok := k.ctrl().Wait(); !ok || n != 0 {
		t.Errorf("an answer of %d bytes without room, ok %v", n, ok)
	}
	k.ctrl().Add(k.In(4)) // an answer and no question
	if _, n, ok := k.ctrl().Wait(); !ok || n != 1 {
		t.Errorf("an answer of %d bytes, ok %v", n, ok)
	}
}

// TestPairs moves frames on a second queue pair only while the driver has it in use.
func TestPairs(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures})
	posted := []chainsOf{{}, {}}
	for i := range posted {
		for range 16 {
			k.offer(k.rx(i), posted[i], 1536)
		}
		k.rx(i).Publish()
	}
	serial := uint64(0)
	cross := func(i int) {
		t.Helper()
		serial++
		want := frame(100, serial)
		k.send(t, i, want)
		if got, _ := k.take(t, k.rx(i), posted[i]); !bytes.Equal(got, want) {
			t.Errorf("pair %d: the guest received another frame than was sent", i)
		}
		k.tx(i).Add(k.Out(want))
		k.tx(i).Wait()
		if got := k.receive(t, i); !bytes.Equal(got, want) {
			t.Errorf("pair %d: the peer received another frame than was sent", i)
		}
	}
	for range 3 {
		cross(0)
		k.tx(1).Add(k.Out(frame(100, 1))) // not in use: dropped
		k.tx(1).Wait()
		k.send(t, 1, frame(50, 1)) // and this one waits
		cross(0)
		if _, _, ok := k.rx(1).Take(); ok {
			t.Fatal("a frame on a queue pair that is not in use")
		}
		if got := k.call(t, k.ctrl(), classPairs, pairsSet, 2, 0); got != answerOK {
			t.Fatalf("two pairs: answer %d", got)
		}
		if got, _ := k.take(t, k.rx(1), posted[1]); len(got) != headerSize+50 {
			t.Fatalf("the frame that waited has %d bytes", len(got))
		}
		cross(1)
		cross(0)
		if got := k.call(t, k.ctrl(), classPairs, pairsSet, 1, 0); got != answerOK {
			t.Fatalf("one pair: answer %d", got)
		}
	}
	if s := k.dev.Stats(); s.SentDropped != 3 {
		t.Errorf("Stats = %+v, want 3 frames dropped", s)
	}
}

// TestPairsStayWhenTheBackendRefuses checks that a command that failed changed nothing.
func TestPairsStayWhenTheBackendRefuses(t *testing.T) {
	b := &refusing{}
	k := bootWith(t, 2, virtiotest.Config{Features: allFeatures}, Config{Backend: b})
	if got := k.call(t, k.ctrl(), classPairs, pairsSet, 2, 0); got != answerOK {
		t.Fatalf("two pairs: answer %d", got)
	}
	b.refuse.Store(true)
	if got := k.call(t, k.ctrl(), classPairs, pairsSet, 1, 0); got != answerErr {
		t.Fatalf("one pair: answer %d, want an error", got)
	}
	k.sends(t, 1)
	k.receives(t, 1)
}

// TestDriverWithoutPairs has its control queue behind the first pair.
func TestDriverWithoutPairs(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures &^ FeatureMQ, Missing: []int{3, 4}})
	if got := k.call(t, k.Queues[2], classAnnounce, announceAck); got != answerOK {
		t.Errorf("answer %d", got)
	}
	if got := k.call(t, k.Queues[2], classPairs, pairsSet, 2, 0); got != answerErr {
		t.Errorf("two pairs without F_MQ: answer %d", got)
	}
	k.tx(0).Add(k.Out(frame(60, 1)))
	if got := k.receive(t, 0); !bytes.Equal(got, frame(60, 1)) {
		t.Error("the peer received another frame than was sent")
	}
	virtiotest.Start(t, k.dev, virtiotest.Config{Missing: []int{0, 1, 2, 3, 4}}).Stop()
}
