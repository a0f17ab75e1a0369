package vhost

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/host/need"
)

var memory = []Region{{0x1000, 0x10000, 0x7000_0000}, {0x100_0000, 0x1000, 0x8000_0000}}

func TestRingsAreTranslated(t *testing.T) {
	got, err := address(1, Ring{Size: 256, Desc: 0x2000, Avail: 0x100_0000, Used: 0x1000}, memory)
	if want := (vringAddr{Index: 1, DescUserAddr: 0x7000_1000, AvailUserAddr: 0x8000_0000, UsedUserAddr: 0x7000_0000}); err != nil || got != want {
		t.Errorf("address = %+v, %v; want %+v", got, err, want)
	}
	good := Ring{Size: 256, Desc: 0x2000, Avail: 0x3000, Used: 0x4000}
	for name, change := range map[string]func(r *Ring){
		"size":             func(r *Ring) { r.Size = 0 },
		"descriptor table": func(r *Ring) { r.Desc = 0x10001 },
		"available ring":   func(r *Ring) { r.Avail = 0xfff },
		"used ring":        func(r *Ring) { r.Used = math.MaxUint64 - 8 },
		"power of two":     func(r *Ring) { r.Size = 255 },
		"up to 32768":      func(r *Ring) { r.Size = math.MaxUint16 },
	} {
		r := good
		change(&r)
		if _, err := address(0, r, memory); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: address = %v", name, err)
		}
	}
}

func TestOpenOfANodeThatIsNone(t *testing.T) {
	if _, err := open("/dev/vhost-nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open = %v, want that it does not exist", err)
	}
	var refused *Error
	if _, err := open("/dev/null"); !errors.As(err, &refused) || refused.Request != "VHOST_SET_OWNER" || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("open of /dev/null = %v, want that VHOST_SET_OWNER is refused", err)
	}
}

// rings are two queues in memory of this process.
func rings(t *testing.T) Config {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, 0x10000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	c := Config{Features: 1 << 32, Memory: []Region{{0x10000, uint64(len(mem)), addressOf(mem)}}, Fault: None}
	for i := range uint64(2) {
		kick, err := eventfd.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kick.Close() })
		base := 0x10000 + i*0x8000
		c.Rings = append(c.Rings, Ring{Size: 128, Desc: base, Avail: base + 0x1000, Used: base + 0x2000, Kick: int(kick.Fd()), Interrupt: None, Next: uint16(i)})
	}
	return c
}

func TestLabVsock(t *testing.T) {
	need.VhostVsock(t)
	v, err := OpenVsock()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Features()&(1<<32) == 0 {
		t.Errorf("features %#x lack version 1", v.Features())
	}
	if bits, err := v.BackendFeatures(); err != nil {
		t.Error(err)
	} else if err := v.SetBackendFeatures(bits); err != nil {
		t.Errorf("backend features %#x: %v", bits, err)
	}
	if err := v.SetCID(2); !errors.Is(err, unix.EINVAL) {
		t.Errorf("SetCID(2) = %v, want invalid", err)
	}
	if err := v.SetCID(77); err != nil {
		t.Fatal(err)
	}
	other, err := OpenVsock()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.SetCID(77); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("SetCID of one that is taken = %v", err)
	}
	other.Close()
	c := rings(t)
	bad := c
	bad.Rings = append([]Ring(nil), c.Rings...)
	bad.Rings[1].Used = 0
	if err := v.Start(bad); err == nil {
		t.Error("Start with a ring outside memory succeeded")
	}
	for range 3 {
		if err := v.Start(c); err != nil {
			t.Fatal(err)
		}
		next, err := v.Stop()
		if err != nil || len(next) != 2 || next[0] != 0 || next[1] != 1 {
			t.Errorf("Stop = %v, %v; want that each ring is where it began", next, err)
		}
	}
}

func TestLabNet(t *testing.T) {
	need.VhostNet(t)
	n, err := OpenNet()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c := rings(t)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if err := n.Start(c, null); err == nil {
		t.Error("Start with a backend that is no network device succeeded")
	}
	tap, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tap)
	ifr, err := unix.NewIfreq("vhosttest")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(tap, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := n.Start(c, tap); err != nil {
			t.Fatal(err)
		}
		if next, err := n.Stop(); err != nil || len(next) != 2 || next[1] != 1 {
			t.Errorf("Stop = %v, %v; want that each ring is where it began", next, err)
		}
	}
}

// TestLabOwnWhileSignalsCome opens devices on a thread that gets signals all the time.
func TestLabOwnWhileSignalsCome(t *testing.T) {
	need.VhostNet(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread, stop, stopped := unix.Gettid(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG) // Go takes it for one of its own
			}
		}
	}()
	for range 100 {
		n, err := OpenNet()
		if err != nil {
			t.Error(err)
			break
		}
		n.Close()
	}
	close(stop)
	<-stopped
}
