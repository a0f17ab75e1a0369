package vmm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"usui/host/need"
	"usui/machine/block"
	"usui/machine/tinyguest"
	"usui/machine/virtio"
	"usui/machine/virtio/blk"
	"usui/machine/virtio/rng"
	"usui/machine/vmm"
)

// Registers of hot plug.
const (
	upPort    = 0x610
	downPort  = 0x614
	ejectPort = 0x618
)

// obedient ejects what it is asked to, for ever.
func obedient(a *tinyguest.Asm) {
	a.Label("again")
	a.In(upPort, 4)
	a.In(downPort, 4)
	a.Out(ejectPort, 4)
	a.Jmp("again")
}

// running runs a machine until the test's end.
func running(t *testing.T, m *vmm.Machine) {
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
}

// driver is what a guest's kernel does to a device in a slot, done by the test: place its BAR, and get it to run.
type driver struct {
	m    *vmm.Machine
	slot int
}

func (d driver) config(off int, v uint32) {
	d.m.PCI().Config().Write(uint64(d.slot)<<15|uint64(off), binary.LittleEndian.AppendUint32(nil, v))
}

func (d driver) start() {
	window := d.m.PCI().Window64()
	base := window.Start + uint64(d.slot)<<20
	d.config(0x10, uint32(base))
	d.config(0x14, uint32(base>>32))
	d.config(4, 6)
	put := func(off uint64, p ...byte) { window.Write(base-window.Start+off, p) }
	put(20, 3)                             // ACKNOWLEDGE, DRIVER
	put(8, 1, 0, 0, 0)                     // the upper half of the features:
	put(12, 1, 0, 0, 0)                    // VERSION_1
	put(20, 11)                            // FEATURES_OK
	put(32, 0, 0, 0x30, 0, 0, 0, 0, 0)     // descriptors at 3 MiB
	put(40, 0, 0x10, 0x30, 0, 0, 0, 0, 0)  // available ring
	put(48, 0, 0x20, 0x30, 0, 0, 0, 0, 0)  // used ring
	put(28, 1, 0)                          // queue_enable
	put(0x4000, 0, 0, 0xe0, 0xfe, 0, 0, 0) // MSI-X entry 0
	put(0x400c, 0, 0, 0, 0)                // unmasked
	d.config(0x40, 0x8000_0000)            // MSI-X on
	put(20, 15)                            // DRIVER_OK
}

// TestThousandPlugs plugs more devices than KVM has interrupts, at one place after the other, and looks for what they leave behind.
func TestThousandPlugs(t *testing.T) {
	const rounds = 1100 // with four vectors each
	var log bytes.Buffer
	m := newMachine(t, vmm.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, obedient)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := block.OpenFile(path, block.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	running(t, m)
	gone := 0
	before := descriptors(t)
	for i := range rounds {
		disk, err := blk.New(blk.Config{Backend: file})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []vmm.Virtio{{Name: "rng", Device: rng.New()}, {Name: "disk", Device: disk}} {
			v.Gone = func() { gone++ }
			slot, err := m.Plug(v)
			if err != nil {
				t.Fatalf("round %d: Plug = %v", i, err)
			}
			if i%10 == 0 {
				driver{m, slot}.start()
			}
		}
		for _, name := range []string{"rng", "disk"} {
			if err := m.Unplug(t.Context(), name); err != nil {
				t.Fatalf("round %d: Unplug = %v", i, err)
			}
		}
	}
	if gone != 2*rounds || len(m.Devices()) != 0 {
		t.Errorf("%d devices left, %v are there; want %d and none", gone, m.Devices(), 2*rounds)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
	if log.Len() > 0 { // a doorbell that was there already, say
		t.Errorf("the log says\n%s", log.String())
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// diary is a device that notes what is done to it. Whoever uses it orders the calls.
type diary struct {
	*rng.Rng
	notes []string
}

func (d *diary) Start(features uint64, queues []*virtio.Queue) error {
	d.notes = append(d.notes, "start")
	return d.Rng.Start(features, queues)
}

func (d *diary) Stop() {
	d.Rng.Stop()
	d.notes = append(d.notes, "stop")
}

// TestEjectStopsTheDevice ejects one that a driver has left running.
func TestEjectStopsTheDevice(t *testing.T) {
	m := newMachine(t, vmm.Config{Virtio: []vmm.Virtio{{Name: "boot", Device: rng.New()}}}, obedient)
	d := &diary{Rng: rng.New()}
	slot, err := m.Plug(vmm.Virtio{Name: "d", Device: d, Gone: func() { d.notes = append(d.notes, "gone") }})
	if err != nil || slot != 2 {
		t.Fatalf("Plug = %d, %v, want slot 2", slot, err)
	}
	driver{m, slot}.start()
	running(t, m)
	if err := m.Unplug(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"start", "stop", "gone"}; !slices.Equal(d.notes, want) {
		t.Errorf("the device saw %q, want %q", d.notes, want)
	}
	if err := m.Unplug(t.Context(), "boot"); err != nil || len(m.Devices()) != 0 {
		t.Errorf("Unplug of a device that was there at boot = %v, devices %v", err, m.Devices())
	}
}

// TestGuestEjectsUnasked lets a guest throw everything out, and write nonsense first.
func TestGuestEjectsUnasked(t *testing.T) {
	gone := 0
	devices := []vmm.Virtio{
		{Name: "a", Device: rng.New(), Gone: func() { gone++ }},
		{Name: "b", Device: rng.New(), Gone: func() { gone++ }},
	}
	m := newMachine(t, vmm.Config{Virtio: devices}, func(a *tinyguest.Asm) {
		for port := uint16(upPort); port < ejectPort+4; port++ {
			a.Mov(tinyguest.RAX, 0xffff_ffff)
			for _, size := range []int{1, 2} {
				a.Out(port, size)
				a.In(port, size)
			}
		}
		for range 100 {
			a.Mov(tinyguest.RAX, 0xffff_ffff)
			a.Out(ejectPort, 4)
		}
		a.Mov(tinyguest.RBX, ecamAddr+1<<15)
		a.Load(4, tinyguest.RAX, tinyguest.RBX, 0)
		a.Raw(0x83, 0xf8, 0xff) // cmp eax, -1: slot 1 is empty
		a.JNZ("bad")
		a.Mov(tinyguest.RBX, ecamAddr)
		a.Load(2, tinyguest.RAX, tinyguest.RBX, 0)
		a.Raw(0x66, 0x3d, 0x36, 0x1b) // cmp ax, 0x1b36: the host bridge is there
		a.JNZ("bad")
		out(a, sleepControlPort, sleepS5)
		a.Label("bad")
		out(a, resetPort, 1)
	})
	if got, err := m.Run(t.Context()); got != vmm.PowerOff || err != nil {
		t.Errorf("Run() = %v, %v; want power-off", got, err)
	}
	if gone != 2 || len(m.Devices()) != 0 {
		t.Errorf("%d owners were told, devices %v; want 2 and none", gone, m.Devices())
	}
}

// TestOwnersAreToldOnce counts at every end that a device can have.
func TestOwnersAreToldOnce(t *testing.T) {
	need.KVM(t)
	for _, tt := range []struct {
		name    string
		devices int
		want    string
	}{{"built", 3, "1 1 1 plugged 1"}, {"too many", 32, ""}} {
		var told [32]int
		cfg := vmm.Config{CPUs: 1, Memory: 16 << 20, Kernel: kernel(t, obedient)}
		for i := range tt.devices {
			cfg.Virtio = append(cfg.Virtio, vmm.Virtio{Name: fmt.Sprint(i), Device: rng.New(), Gone: func() { told[i]++ }})
		}
		plugged := 0
		m, err := vmm.New(t.Context(), cfg)
		if err == nil {
			if _, err := m.Plug(vmm.Virtio{Name: "p", Device: rng.New(), Gone: func() { plugged++ }}); err != nil {
				t.Error(err)
			}
			if _, err := m.Plug(vmm.Virtio{Name: "p", Device: rng.New(), Gone: func() { plugged++ }}); err == nil {
				t.Error("Plug of a name that is taken succeeds")
			}
			for range 2 {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := m.Plug(vmm.Virtio{Name: "q", Device: rng.New()}); !errors.Is(err, vmm.ErrEnded) {
				t.Errorf("Plug after Close = %v, want ErrEnded", err)
			}
		}
		got := ""
		if err == nil {
			got = fmt.Sprint(told[0], told[1], told[2], " plugged ", plugged)
		} else if told != [32]int{} {
			got = fmt.Sprint(told)
		}
		if got != tt.want {
			t.Errorf("%s: owners told %q times, want %q", tt.name, got, tt.want)
		}
	}
}
