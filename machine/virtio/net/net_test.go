package net

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

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
			s.SenderWakeups = 0
			if want := (Stats{FramesSent: frames, BytesSent: total}); s != want {
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

// TestPeerThatNeverReads blocks one direction of one queue pair and nothing else.
func TestPeerThatNeverReads(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures})
	k.call(t, k.ctrl(), classPairs, pairsSet, 2, 0)
	want := k.fill(t)
	k.tx(1).Add(k.Out(frame(60, 2)))
	if got := k.receive(t, 1); !bytes.Equal(got, frame(60, 2)) {
		t.Error("another queue pair does not send")
	}
	posted := chainsOf{}
	k.offer(k.rx(0), posted, 1536)
	k.rx(0).Publish()
	k.send(t, 0, frame(60, 3))
	if got, _ := k.take(t, k.rx(0), posted); !bytes.Equal(got, frame(60, 3)) {
		t.Error("the other direction stands still")
	}
	for i := range k.tx(0).Size() { // once it reads, all that waited comes
		if got := k.receive(t, 0); !bytes.Equal(got, want) {
			t.Fatalf("frame %d of those that waited is another one", i)
		}
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

// TestStopInAFlood stops the device while both sides send as fast as they can, and looks whether anything is written after.
func TestStopInAFlood(t *testing.T) {
	for range 5 {
		k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf | virtio.FeatureEventIdx})
		var peer sync.WaitGroup
		fd := k.peers[0]
		peer.Go(func() { // ends with the socket
			for m := frame(1500, 1); ; {
				if _, err := unix.Write(fd, m); err != nil {
					return
				}
			}
		})
		peer.Go(func() { // likewise
			b := make([]byte, 1<<16)
			for n, err := unix.Read(fd, b); n > 0 && err == nil; n, err = unix.Read(fd, b) {
			}
		})
		rx, tx, posted := k.rx(0), k.tx(0), chainsOf{}
		out := k.Out(frame(1500, 2))
		for rx.Free() > 0 {
			k.offer(rx, posted, 1536)
		}
		rx.Publish()
		for tx.Free() > 0 {
			tx.Put(out)
		}
		tx.Publish()
		for k.dev.Stats().FramesReceived < 500 || k.dev.Stats().FramesSent < 500 {
			if head, _, ok := rx.Take(); ok {
				rx.Again(head, 1)
			}
			if head, _, ok := tx.Take(); ok {
				tx.Again(head, 1)
			}
		}
		k.dev.Stop()
		for _, bufs := range posted {
			clear(k.Bytes(bufs[0]))
		}
		until(func() bool { // whatever arrives now is for nobody
			var n [1]unix.PollFd
			n[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
			_, err := unix.Poll(n[:], 0)
			return err == nil && n[0].Revents == 0
		})
		for _, bufs := range posted {
			if b := k.Bytes(bufs[0]); !bytes.Equal(b, make([]byte, len(b))) {
				t.Fatal("bytes were written after Stop")
			}
		}
		unix.Shutdown(fd, unix.SHUT_RDWR)
		peer.Wait()
	}
}

func TestRestart(t *testing.T) {
	k := boot(t, 2, virtiotest.Config{Features: allFeatures})
	before := runtime.NumGoroutine()
	for i := range 20 {
		k.Restart()
		k.tx(0).Add(k.Out(frame(60, uint64(i))))
		if got := k.receive(t, 0); !bytes.Equal(got, frame(60, uint64(i))) {
			t.Fatal("another frame than was sent")
		}
	}
	for range 1 << 20 { // a goroutine that said it is done may not be gone yet
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

func TestBrokenDriver(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: allFeatures &^ FeatureMQ})
	posted := chainsOf{}
	k.offer(k.rx(0), posted, 1536)
	k.rx(0).Publish()
	k.tx(0).SetAvailableIndex(0x8000)
	until(func() bool { return len(k.Broken()) > 0 })
	k.send(t, 0, frame(60, 1)) // whether this one goes anywhere is open
	k.Restart()
	k.offer(k.rx(0), posted, 1536)
	k.rx(0).Publish()
	k.send(t, 0, frame(60, 2))
	until(func() bool {
		_, _, ok := k.rx(0).Take()
		return ok
	})
}

func TestFeaturesAndConfig(t *testing.T) {
	one, _ := sockets(t, 1)
	three, _ := sockets(t, 3)
	three.Features = FeatureCsum | FeatureMQ<<20 // what no backend decides on is none of its business
	base := uint64(FeatureMAC | FeatureMrgRxBuf | FeatureStatus | FeatureCtrlVQ | FeatureGuestAnnounce)
	for _, tt := range []struct {
		config   Config
		features uint64
		sizes    int
		bytes    string
	}{
		{Config{Backend: one, MAC: testMAC}, base | OffloadFeatures, 3, "020000000001" + "0100" + "0100" + "0000"},
		{Config{Backend: three, MAC: testMAC, MTU: 9000}, base | FeatureCsum | FeatureMQ | FeatureMTU, 7, "020000000001" + "0100" + "0300" + "2823"},
	} {
		d, err := New(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		if d.ID() != 1 || d.Features() != tt.features || len(d.QueueSizes()) != tt.sizes {
			t.Errorf("ID %d, features %#x, queues %v; want 1, %#x, %d", d.ID(), d.Features(), d.QueueSizes(), tt.features, tt.sizes)
		}
		p := make([]byte, 14)
		d.WriteConfig([]byte{9, 9, 9}, 0)
		if d.ReadConfig(p, 0); fmt.Sprintf("%x", p) != tt.bytes+"0000" {
			t.Errorf("config %x, want %s", p, tt.bytes)
		}
		for _, off := range []int{-1, 12, 1 << 30} {
			if d.ReadConfig(p, off); !bytes.Equal(p, make([]byte, len(p))) {
				t.Errorf("config at %d: %x, want zeroes", off, p)
			}
		}
		if err := d.Start(0, nil); err == nil {
			t.Error("Start without queues succeeded")
		}
		d.Stop()
	}
}

func TestNewRefuses(t *testing.T) {
	good, _ := sockets(t, 1)
	_, blocking := sockets(t, 1)
	for want, c := range map[string]Config{
		"no backend":       {MAC: testMAC},
		"0 queue pairs":    {MAC: testMAC, Backend: Sockets{}},
		"17 queue pairs":   {MAC: testMAC, Backend: Sockets{FDs: make([]int, 17)}},
		"not non-blocking": {MAC: testMAC, Backend: Sockets{FDs: blocking}},
		"MTU of 67":        {MAC: testMAC, Backend: good, MTU: 67},
		"MTU of 65536":     {MAC: testMAC, Backend: good, MTU: 65536},
		"000000000000":     {Backend: good},
		"010000000000":     {Backend: good, MAC: [6]byte{1}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %q", err, want)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	k := boot(t, 1, virtiotest.Config{Features: FeatureMrgRxBuf | virtio.FeatureEventIdx})
	posted := chainsOf{}
	for k.rx(0).Free() > 1 {
		k.offer(k.rx(0), posted, 1536)
	}
	k.rx(0).Publish()
	message := frame(3000, 1)
	if n := testing.AllocsPerRun(500, func() {
		k.send(t, 0, message)
		for i := range 2 {
			head, _, ok := k.rx(0).Take()
			if !ok && i == 0 {
				head, _, ok = k.rx(0).Wait()
			}
			if !ok {
				t.Fatal("no frame")
			}
			k.rx(0).Again(head, 1)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame to the guest, want none", n)
	}
	head := k.tx(0).Add(k.Out(message[:headerSize]), k.Out(message[headerSize:]))
	b := make([]byte, MaxFrame)
	if n := testing.AllocsPerRun(500, func() {
		if n, err := unix.Read(k.peers[0], b); n != len(message) || err != nil {
			t.Fatalf("the peer receives %d bytes: %v", n, err)
		}
		head, _, _ = k.tx(0).Wait()
		k.tx(0).Again(head, 2)
	}); n != 0 {
		t.Errorf("%v allocations for a frame from the guest, want none", n)
	}
}
