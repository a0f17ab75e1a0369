package vmm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usui/machine/boot/acpi"
	"usui/machine/guestmem"
	"usui/machine/pci"
)

// board is the slots of a machine without anything else.
type board struct {
	*slots
	t      testing.TB
	level  atomic.Bool  // of the interrupt
	closed atomic.Int64 // functions whose Close hook ran
	gone   atomic.Int64 // calls of Virtio.Gone
}

func newBoard(t testing.TB) *board {
	b := &board{slots: newSlots(slog.New(slog.DiscardHandler)), t: t}
	b.last = maxSlots - 1
	b.bus = pci.NewBus(pci.BusConfig{Window32: guestmem.Range{Start: 3 << 30, Size: 1 << 20}})
	b.raise = func(up bool) error {
		if b.level.Swap(up) == up {
			t.Errorf("the interrupt is set to %t a second time", up)
		}
		return nil
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Errorf("close() = %v", err)
		}
	})
	return b
}

// memory is a BAR that keeps nothing.
type memory struct{}

func (memory) Read(_ uint64, p []byte)  { clear(p) }
func (memory) Write(_ uint64, _ []byte) {}

func (b *board) function(v Virtio) (*pci.Function, error) {
	return pci.NewFunction(pci.FunctionConfig{
		Name: v.Name, Vendor: 0x1af4, BARs: [6]pci.BAR{{Size: 4096, Region: memory{}}},
		Close: func() error { b.closed.Add(1); return nil },
	})
}

// put plugs a device in.
func (b *board) put(name string) int {
	b.t.Helper()
	slot, err := b.plug(b.virtio(name), b.function)
	if err != nil {
		b.t.Fatalf("plug(%s) = %v", name, err)
	}
	return slot
}

func (b *board) virtio(name string) Virtio {
	return Virtio{Name: name, Gone: func() { b.gone.Add(1) }}
}

// look reads a register as the guest does.
func (b *board) look(register uint64) uint32 {
	var p [4]byte
	b.Read(register, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

// takeOut writes the eject register.
func (b *board) takeOut(mask uint32) {
	b.Write(acpi.HotplugEject, binary.LittleEndian.AppendUint32(nil, mask))
}

// text is the list in one line.
func (b *board) text() string {
	var words []string
	for _, d := range b.list() {
		words = append(words, fmt.Sprintf("%d:%s:%v", d.Slot, d.Name, d.State))
	}
	return strings.Join(words, " ")
}

// check holds what is promised at any time.
func (b *board) check() {
	b.t.Helper()
	var onBus, listed []string
	for _, f := range b.bus.Functions()[1:] {
		onBus = append(onBus, fmt.Sprint(f.Slot, f.Name))
	}
	for _, d := range b.list() {
		listed = append(listed, fmt.Sprint(d.Slot, d.Name))
	}
	if !slices.Equal(onBus, listed) {
		b.t.Errorf("on the bus %q, in the list %q", onBus, listed)
	}
	if want := b.up|b.down != 0; b.level.Load() != want {
		b.t.Errorf("the interrupt is %t, with registers %#x and %#x", b.level.Load(), b.up, b.down)
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	b := newBoard(t)
	boot, _ := b.function(Virtio{Name: "boot"})
	if err := b.add(boot, b.virtio("boot")); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		do   func()
		want string // list
		line bool
	}{
		{"boot", func() {}, "1:boot:present", false},
		{"plug", func() { b.put("a") }, "1:boot:present 2:a:announced", true},
		{"plug another", func() { b.put("b") }, "1:boot:present 2:a:announced 3:b:announced", true},
		{"the guest looks for what leaves", func() { b.look(acpi.HotplugDown) }, "1:boot:present 2:a:announced 3:b:announced", true},
		{"the guest looks for what came", func() {
			if up := b.look(acpi.HotplugUp); up != 1<<2|1<<3 {
				t.Errorf("up = %#x, want slots 2 and 3", up)
			}
		}, "1:boot:present 2:a:present 3:b:present", false},
		{"ask a to leave", func() { b.unplug("a") }, "1:boot:present 2:a:leaving 3:b:present", true},
		{"the guest looks again", func() {
			if up, down := b.look(acpi.HotplugUp), b.look(acpi.HotplugDown); up != 0 || down != 1<<2 {
				t.Errorf("up = %#x, down = %#x, want none and slot 2", up, down)
			}
		}, "1:boot:present 2:a:leaving 3:b:present", false},
		{"eject it, and one that was not asked", func() { b.takeOut(1<<1 | 1<<2) }, "3:b:present", false},
		{"plug into the first free slot", func() { b.put("a") }, "1:a:announced 3:b:present", true},
		{"eject what the guest has not looked for", func() { b.takeOut(1 << 1) }, "3:b:present", false},
	}
	for _, s := range steps {
		s.do()
		if got := b.text(); got != s.want || b.level.Load() != s.line {
			t.Errorf("%s: %q, interrupt %t; want %q, %t", s.name, got, b.level.Load(), s.want, s.line)
		}
		b.check()
	}
	if b.gone.Load() != 3 || b.closed.Load() != 3 {
		t.Errorf("%d functions closed, %d owners told, want 3", b.closed.Load(), b.gone.Load())
	}
}

// TestHotplugRegistersTakeWholeAccessesOnly makes every other access there is.
func TestHotplugRegistersTakeWholeAccessesOnly(t *testing.T) {
	b := newBoard(t)
	b.put("a")
	b.unplug("a")
	for off := range uint64(acpi.HotplugPorts + 4) {
		for n := 1; n <= 8; n++ {
			if n == 4 && off%4 == 0 && off < acpi.HotplugPorts {
				continue
			}
			p := slices.Repeat([]byte{0xff}, n)
			b.Write(off, p)
			if b.Read(off, p); slices.Max(p) != 0 {
				t.Errorf("read %d bytes at %d = % x, want 0", n, off, p)
			}
		}
	}
	for _, register := range []uint64{acpi.HotplugUp, acpi.HotplugDown} {
		b.Write(register, []byte{0xff, 0xff, 0xff, 0xff})
	}
	if v := b.look(acpi.HotplugEject); v != 0 {
		t.Errorf("the eject register reads as %#x, want 0", v)
	}
	if got := b.text(); got != "1:a:leaving" {
		t.Errorf("devices %q, want 1:a:leaving", got)
	}
	if up, down := b.look(acpi.HotplugUp), b.look(acpi.HotplugDown); up != 2 || down != 2 {
		t.Errorf("up = %#x, down = %#x, want slot 1 in both", up, down)
	}
}

func TestMaskHoldsTheSlotsThatTakePart(t *testing.T) {
	for last, want := range map[int]uint32{1: 2, 10: 0x7fe, 31: 0xffff_fffe} {
		s := slots{last: last}
		if got := s.mask(); got != want {
			t.Errorf("mask with %d slots = %#x, want %#x", last, got, want)
		}
	}
}

func TestFloodOfEjects(t *testing.T) {
	b := newBoard(t)
	for i := range 3 {
		b.put(fmt.Sprint(i))
	}
	for range 10000 {
		b.takeOut(math.MaxUint32)
	}
	if b.gone.Load() != 3 || b.text() != "" {
		t.Errorf("%d owners told, devices %q; want 3 and none", b.gone.Load(), b.text())
	}
	if n := len(b.bus.Functions()); n != 1 {
		t.Errorf("%d functions on the bus, want the host bridge", n)
	}
	b.check()
}

func TestPlugRefuses(t *testing.T) {
	b := newBoard(t)
	b.put("a")
	if _, err := b.plug(Virtio{Name: "a"}, b.function); err == nil || !strings.Contains(err.Error(), "slot 1 has that name") {
		t.Errorf("plug of a name that is taken = %v", err)
	}
	fail := errors.New("no more eventfds")
	if _, err := b.plug(Virtio{Name: "b"}, func(Virtio) (*pci.Function, error) { return nil, fail }); !errors.Is(err, fail) {
		t.Errorf("plug = %v, want %v", err, fail)
	}
	for i := range maxSlots - 2 {
		b.put(fmt.Sprint(i))
	}
	if _, err := b.plug(Virtio{Name: "b"}, b.function); err == nil || !strings.Contains(err.Error(), "all 31 slots are taken") {
		t.Errorf("plug into a full bus = %v", err)
	}
	if _, err := b.unplug("b"); err == nil || !strings.Contains(err.Error(), "no device of that name") {
		t.Errorf("unplug of what is not there = %v", err)
	}
	b.check()
	b.end()
	if _, err := b.plug(Virtio{Name: "c"}, b.function); !errors.Is(err, ErrEnded) {
		t.Errorf("plug into a machine that has ended = %v, want ErrEnded", err)
	}
	if _, err := b.unplug("a"); !errors.Is(err, ErrEnded) {
		t.Errorf("unplug from a machine that has ended = %v, want ErrEnded", err)
	}
}

// TestUnplugWaitsForTheGuest has guests that eject at once, late, and never.
func TestUnplugWaitsForTheGuest(t *testing.T) {
	b := newBoard(t)
	m := &Machine{slots: b.slots}
	slot := b.put("a")
	late, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no patience")
	cancel(why)
	for range 2 { // a guest that does not react; each call asks again
		if err := m.Unplug(late, "a"); !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "unplug a: the guest has not let go") {
			t.Errorf("Unplug = %v, want the context's cause", err)
		}
		if down := b.look(acpi.HotplugDown); down != 1<<slot {
			t.Errorf("down = %#x, want slot %d", down, slot)
		}
	}
	if got := b.text(); got != "1:a:leaving" || b.gone.Load() != 0 {
		t.Errorf("devices %q, want a still there", got)
	}
	var callers sync.WaitGroup
	for range 2 { // two callers wait for one ejection
		callers.Go(func() {
			if err := m.Unplug(t.Context(), "a"); err != nil && !strings.Contains(err.Error(), "no device of that name") {
				t.Errorf("Unplug = %v", err)
			}
			if b.gone.Load() != 1 {
				t.Error("Unplug returned before the owner was told")
			}
		})
	}
	for b.look(acpi.HotplugDown) == 0 {
	}
	b.takeOut(1 << slot)
	callers.Wait()

	b.put("b")
	callers.Go(func() {
		if err := m.Unplug(t.Context(), "b"); !errors.Is(err, ErrEnded) {
			t.Errorf("Unplug while the machine ends = %v, want ErrEnded", err)
		}
	})
	for b.look(acpi.HotplugDown) == 0 {
	}
	b.end()
	callers.Wait()
	b.check()
}

// TestAsksOnceForAllWhoWait would else ask the guest to eject the next device in the slot.
func TestAsksOnceForAllWhoWait(t *testing.T) {
	b := newBoard(t)
	b.put("a")
	first, _ := b.unplug("a")
	b.look(acpi.HotplugDown)
	second, _ := b.unplug("a")
	if down := b.look(acpi.HotplugDown); down != 0 || first != second {
		t.Errorf("down = %#x while somebody waits, want 0", down)
	}
	b.waited(first)
	b.waited(second)
	b.unplug("a")
	if down := b.look(acpi.HotplugDown); down != 2 {
		t.Errorf("down = %#x when nobody waits any more, want slot 1", down)
	}
}

// TestHammerPlugs has callers plug and unplug while vCPUs read the registers, eject what they are told and now and then what they are
// not.
func TestHammerPlugs(t *testing.T) {
	const callers, rounds = 4, 200
	b := newBoard(t)
	m := &Machine{slots: b.slots}
	var vcpus, host sync.WaitGroup
	ended := make(chan struct{})
	for vcpu := range 2 {
		vcpus.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ended:
					return
				default:
				}
				b.look(acpi.HotplugUp)
				b.takeOut(b.look(acpi.HotplugDown))
				if i%64 == 0 {
					b.takeOut(1 << (i / 64 % maxSlots))
				}
				if vcpu == 0 {
					b.list()
				}
			}
		})
	}
	var plugged atomic.Int64
	for c := range callers {
		host.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("%d-%d", c, i)
				if _, err := b.plug(b.virtio(name), b.function); err != nil {
					t.Errorf("plug(%s) = %v", name, err)
					return
				}
				plugged.Add(1)
				if err := m.Unplug(t.Context(), name); err != nil && !strings.Contains(err.Error(), "no device of that name") {
					t.Errorf("Unplug(%s) = %v", name, err)
				}
			}
		})
	}
	host.Wait()
	close(ended)
	vcpus.Wait()
	if n := plugged.Load(); b.gone.Load() != n || b.closed.Load() != n || b.text() != "" {
		t.Errorf("%d plugged, %d closed, %d owners told, devices %q", n, b.closed.Load(), b.gone.Load(), b.text())
	}
	b.check()
}

// FuzzHotplug lets bytes choose what the guest writes and reads and what the host does meanwhile.
func FuzzHotplug(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 4, 1, 0, 2, 4, 4, 3, 8, 4, 2, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0, 2, 3, 8, 4, 0xff, 0xff, 0xff, 0xff, 3, 8, 4, 0xff, 0xff, 0xff, 0xff, 2, 0, 8})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBoard(t)
		m := &Machine{slots: b.slots}
		late, cancel := context.WithCancel(t.Context())
		cancel()
		next := func() (v byte) {
			if len(data) > 0 {
				v, data = data[0], data[1:]
			}
			return v
		}
		plugged := int64(0)
		for len(data) > 0 {
			switch next() % 4 {
			case 0:
				name := fmt.Sprint(next() % 40)
				if _, err := b.plug(b.virtio(name), b.function); err == nil {
					plugged++
				}
			case 1:
				if err := m.Unplug(late, fmt.Sprint(next()%40)); err == nil {
					t.Error("Unplug succeeds without a guest")
				}
			case 2:
				b.Read(uint64(next()), make([]byte, next()%9))
			case 3:
				off, p := uint64(next()), make([]byte, next()%9)
				data = data[copy(p, data):]
				b.Write(off, p)
			}
			b.check()
		}
		if n := int64(len(b.list())); b.gone.Load()+n != plugged || b.closed.Load() != b.gone.Load() {
			t.Errorf("%d plugged, %d there, %d gone, %d closed", plugged, n, b.gone.Load(), b.closed.Load())
		}
	})
}
