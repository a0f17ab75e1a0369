package net

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/host/tap"
	"usui/machine/virtio/virtiotest"
)

// TestLabVhostStartsAndStops hands queues to the kernel and takes them back, also those of a driver that makes no sense.
func TestLabVhostStartsAndStops(t *testing.T) {
	need.Lab(t)
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	cable, err := tap.Make(2)
	if err != nil {
		t.Fatal(err)
	}
	defer cable.Close()
	d, err := New(Config{Backend: NewTap(cable), MAC: testMAC, Vhost: true})
	if err != nil {
		t.Fatal(err)
	}
	g := virtiotest.Start(t, d, virtiotest.Config{Features: d.Features() | kernelFeatures})
	for range 20 {
		g.Restart()
	}
	g.Queues[1].SetAvailableIndex(0x8000) // of 64 entries
	g.Queues[1].Kick()
	for len(g.Broken()) == 0 {
		runtime.Gosched()
	}
	g.Restart()
	if len(d.kernel.devices) == 0 {
		t.Error("nothing is served after a restart")
	}
	g.Stop()
	if len(d.kernel.devices) != 0 {
		t.Errorf("%d devices of the kernel are left", len(d.kernel.devices))
	}
	virtiotest.Start(t, d, virtiotest.Config{Missing: []int{0}})
}
