package net

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

// allFeatures are what a driver of Linux accepts.
const allFeatures = virtio.FeatureEventIdx | virtio.FeatureIndirectDesc | OffloadFeatures | FeatureMAC | FeatureMTU | FeatureMrgRxBuf |
	FeatureStatus | FeatureCtrlVQ | FeatureGuestAnnounce | FeatureMQ

var testMAC = [6]byte{2, 0, 0, 0, 0, 1}

// card is a device under test with a driver on one side and sockets on the other.
type card struct {
	*virtiotest.Driver
	dev     *Net
	peers   []int // blocking ends of the sockets
	changes atomic.Int64
	log     *lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "\n")
}

// sockets makes a backend and the other ends of it.
func sockets(t testing.TB, pairs int) (Sockets, []int) {
	t.Helper()
	s, peers := Sockets{Features: OffloadFeatures}, []int(nil)
	for range pairs {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range p {
			// Room for a few large frames, so that a test may send some before it looks.
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.SetNonblock(p[0], true); err != nil {
			t.Fatal(err)
		}
		s.FDs, peers = append(s.FDs, p[0]), append(peers, p[1])
	}
	return s, peers
}

// boot starts a card with a driver that accepts features.
func boot(t testing.TB, pairs int, c virtiotest.Config) *card {
	t.Helper()
	return bootWith(t, pairs, c, Config{})
}

// refusing is a backend that may refuse to be used otherwise.
type refusing struct {
	Backend
	refuse atomic.Bool
}

// Use implements [Backend].
func (r *refusing) Use(features uint64, pairs int) error {
	if r.refuse.Load() {
		return unix.ETIMEDOUT
	}
	return r.Backend.Use(features, pairs)
}

// bootWith is boot with more in the card's configuration.
func bootWith(t testing.TB, pairs int, c virtiotest.Config, n Config) *card {
	t.Helper()
	s, peers := sockets(t, pairs)
	k := &card{peers: peers, log: &lines{}}
	t.Cleanup(func() {
		for i := range peers {
			unix.Close(s.FDs[i])
			k.hangUp(i)
		}
	})
	if r, ok := n.Backend.(*refusing); ok {
		r.Backend = s
	} else {
		n.Backend = s
	}
	n.Name, n.MAC, n.MTU, n.Log = "test", testMAC, 1500, slog.New(slog.NewTextHandler(k.log, nil))
	var err error
	if k.dev, err = New(n); err != nil {
		t.Fatal(err)
	}
	k.dev.OnChange(func() { k.changes.Add(1) })
	k.Driver = virtiotest.Start(t, k.dev, c)
	return k
}

// hangUp closes the peer's end of a queue pair.
func (k *card) hangUp(i int) {
	if k.peers[i] >= 0 {
		unix.Close(k.peers[i])
		k.peers[i] = -1
	}
}

// rx and tx are the queues of pair i; ctrl is the control queue of a driver that accepted F_MQ.
func (k *card) rx(i int) *virtiotest.Queue { return k.Queues[2*i] }
func (k *card) tx(i int) *virtiotest.Queue { return k.Queues[2*i+1] }
func (k *card) ctrl() *virtiotest.Queue    { return k.Queues[len(k.Queues)-1] }

// send has the peer of pair i send a message.
func (k *card) send(t testing.TB, i int, message []byte) {
	t.Helper()
	if _, err := unix.Write(k.peers[i], message); err != nil {
		t.Fatalf("the peer sends %d bytes: %v", len(message), err)
	}
}

// receive has the peer of pair i receive a message.
func (k *card) receive(t testing.TB, i int) []byte {
	t.Helper()
	b := make([]byte, MaxFrame+1)
	n, err := unix.Read(k.peers[i], b)
	if err != nil {
		t.Fatalf("the peer receives: %v", err)
	}
	return b[:n]
}

// sends checks that a frame of the guest crosses pair i.
func (k *card) sends(t testing.TB, i int) {
	t.Helper()
	want := frame(60, 2)
	k.tx(i).Add(k.Out(want))
	if got := k.receive(t, i); !bytes.Equal(got, want) {
		t.Errorf("pair %d: the peer received another frame than was sent", i)
	}
}

// receives checks that a frame for the guest crosses pair i.
func (k *card) receives(t testing.TB, i int) {
	t.Helper()
	want, posted := frame(60, 3), chainsOf{}
	k.offer(k.rx(i), posted, 1536)
	k.rx(i).Publish()
	k.send(t, i, want)
	if got, _ := k.take(t, k.rx(i), posted); !bytes.Equal(got, want) {
		t.Errorf("pair %d: the guest received another frame than was sent", i)
	}
}

// unread is how much of what the peer of pair i sent the device has not read, as the kernel counts.
func (k *card) unread(t testing.TB, i int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(k.peers[i], unix.SIOCOUTQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// frame is a header without work, and n bytes that nobody looks into.
func frame(n int, seed uint64) []byte {
	b := make([]byte, headerSize+n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b[headerSize:])
	return b
}

// chain describes one that the driver put up: its buffers, by head.
type chainsOf map[uint16][]virtiotest.Buffer

// offer puts up a chain for receiving, with buffers of those sizes.
func (k *card) offer(q *virtiotest.Queue, to chainsOf, sizes ...int) {
	var bufs []virtiotest.Buffer
	for _, n := range sizes {
		bufs = append(bufs, k.In(n))
	}
	to[q.Put(bufs...)] = bufs
}

// take waits for a frame and returns it as one piece, and over how many chains it was spread.
func (k *card) take(t testing.TB, q *virtiotest.Queue, from chainsOf) (message []byte, spread int) {
	t.Helper()
	for count := 1; spread < count; spread++ {
		head, n, ok := q.Take()
		if !ok {
			if spread > 0 {
				t.Fatalf("the driver sees %d of %d chains of a frame", spread, count)
			}
			if head, n, ok = q.Wait(); !ok {
				t.Fatalf("no frame: %v", k.Broken())
			}
		}
		for _, b := range from[head] {
			part := k.Bytes(b)[:min(n, b.Len)]
			message = append(message, part...)
			n -= uint32(len(part))
		}
		delete(from, head)
		if spread == 0 && len(message) >= headerSize {
			count = int(binary.LittleEndian.Uint16(message[10:]))
			message[10], message[11] = 0, 0
		}
	}
	return message, spread
}

// until waits for something that a goroutine of the device does.
func until(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
}
