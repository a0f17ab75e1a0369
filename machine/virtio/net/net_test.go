package net

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

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
