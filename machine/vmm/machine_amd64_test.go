package vmm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usui/host/need"
	"usui/machine/tinyguest"
	"usui/machine/virtio/rng"
	"usui/machine/vmm"
)

// Ports of the machine, as its ACPI tables name them.
const (
	serialPort       = 0x3f8
	panicPort        = 0x505
	sleepControlPort = 0x600
	resetPort        = 0x602

	sleepS5 = 0x34 // SLP_EN | 5 << 2

	loadAddr = 2 << 20 // where the test kernels lie
	dataAddr = 3 << 20 // RAM that they write to
	ecamAddr = 0xe000_0000
	barAddr  = 0xc000_0000
)

// kernel is an ELF file with one segment: the instructions that build emits.
func kernel(t testing.TB, build func(a *tinyguest.Asm)) *os.File {
	t.Helper()
	a := tinyguest.NewAsm(tinyguest.Long)
	build(a)
	p, err := a.Program()
	if err != nil {
		t.Fatal(err)
	}
	code := p.Code()
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(loadAddr), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(7), uint64(120), uint64(loadAddr), uint64(loadAddr), uint64(len(code)), uint64(len(code)), uint64(4096),
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(code)
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// out writes a byte to a port.
func out(a *tinyguest.Asm, port uint16, v byte) {
	a.Mov(tinyguest.RAX, uint64(v))
	a.Out(port, 1)
}

// newMachine builds a machine of one CPU and 16 MiB around a test kernel.
func newMachine(t testing.TB, cfg vmm.Config, build func(a *tinyguest.Asm)) *vmm.Machine {
	t.Helper()
	need.KVM(t)
	cfg.CPUs, cfg.Memory, cfg.Kernel = 1, 16<<20, kernel(t, build)
	m, err := vmm.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return m
}

func TestRunEndsForTheGuestsReason(t *testing.T) {
	for _, tt := range []struct {
		want  vmm.Cause
		build func(a *tinyguest.Asm)
	}{
		{vmm.PowerOff, func(a *tinyguest.Asm) { out(a, sleepControlPort, sleepS5) }},
		{vmm.Reset, func(a *tinyguest.Asm) { out(a, resetPort, 1) }},
		{vmm.Panic, func(a *tinyguest.Asm) { out(a, panicPort, 1) }},
		{vmm.TripleFault, func(a *tinyguest.Asm) { a.Ud2() }},
		{vmm.PowerOff, func(a *tinyguest.Asm) { // what means nothing to the registers changes nothing
			out(a, sleepControlPort, sleepS5&^0x20)
			out(a, sleepControlPort, 0x20|3<<2)
			out(a, resetPort, 7)
			out(a, panicPort, 2)
			out(a, sleepControlPort, sleepS5)
		}},
	} {
		m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) {
			tt.build(a)
			a.Label("hang") // a machine that does not end here ends with the test's time
			a.Hlt()
			a.Jmp("hang")
		})
		if got, err := m.Run(t.Context()); got != tt.want || err != nil {
			t.Errorf("Run() = %v, %v; want %v", got, err, tt.want)
		}
	}
}

// TestResetVectorResets reads the instructions at the reset vector and does what they say: a 16-bit "mov dx, imm16" reads otherwise in
// 64-bit mode, so they cannot be jumped to from there.
func TestResetVectorResets(t *testing.T) {
	m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) { a.Hlt() })
	code := make([]byte, 9)
	if _, err := m.Memory().ReadAt(code, 0xffff0); err != nil {
		t.Fatal(err)
	}
	if want := []byte{0xb0, 1, 0xba, resetPort & 0xff, resetPort >> 8, 0xee, 0xf4, 0xeb, 0xfd}; !bytes.Equal(code, want) {
		t.Errorf("reset vector = % x, want % x (mov al, 1; mov dx, %#x; out dx, al; hlt; jmp)", code, want, resetPort)
	}
}

func TestGuestSpeaksOnTheSerialPort(t *testing.T) {
	var console bytes.Buffer
	m := newMachine(t, vmm.Config{Serial: &console}, func(a *tinyguest.Asm) {
		for _, c := range []byte("hello\n") {
			out(a, serialPort, c)
		}
		out(a, sleepControlPort, sleepS5)
	})
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := console.String(); got != "hello\n" {
		t.Errorf("console = %q, want hello", got)
	}
	if got := m.Stats().Exits["KVM_EXIT_IO"]; got < 7 {
		t.Errorf("%d I/O exits counted, want at least 7", got)
	}
}

func TestSerialInputReachesTheGuest(t *testing.T) {
	var console bytes.Buffer
	m := newMachine(t, vmm.Config{Serial: &console}, func(a *tinyguest.Asm) {
		a.Label("wait") // echo until 'q'
		a.In(serialPort+5, 1)
		a.Raw(0xa8, 0x01) // test al, 1: data ready
		a.JZ("wait")
		a.In(serialPort, 1)
		a.Out(serialPort, 1)
		a.Raw(0x3c, 'q') // cmp al, 'q'
		a.JNZ("wait")
		out(a, sleepControlPort, sleepS5)
	})
	var feeder sync.WaitGroup
	feeder.Go(func() {
		if err := m.SerialInput([]byte("abcq")); err != nil {
			t.Errorf("SerialInput = %v", err)
		}
	})
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	feeder.Wait()
	if got := console.String(); got != "abcq" {
		t.Errorf("echo = %q, want abcq", got)
	}
}

// TestNothingAnswersWithOnes reads where nothing is, in all sizes, and powers off only if it saw ones.
func TestNothingAnswersWithOnes(t *testing.T) {
	m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) {
		a.In(0x1234, 1)
		a.Raw(0x3c, 0xff) // cmp al, 0xff
		a.JNZ("bad")
		for _, addr := range []uint64{0xd000_0001, 0xfed0_0000, 0xe010_0000} {
			a.Mov(tinyguest.RBX, addr)
			a.Load(4, tinyguest.RAX, tinyguest.RBX, 0)
			a.Raw(0x83, 0xf8, 0xff) // cmp eax, -1
			a.JNZ("bad")
			a.Store(8, tinyguest.RBX, 0, tinyguest.RAX)
			a.Store(2, tinyguest.RBX, 1, tinyguest.RAX)
		}
		out(a, sleepControlPort, sleepS5)
		a.Label("bad")
		out(a, resetPort, 1)
	})
	if got, err := m.Run(t.Context()); got != vmm.PowerOff || err != nil {
		t.Errorf("Run() = %v, %v; want power-off: the guest saw something else than ones", got, err)
	}
	if got := m.Stats().Missed; got == 0 {
		t.Error("no access to nothing was counted")
	}
}

// TestHostileAccessesLeaveTheMachineAlone sweeps stores of every size over the configuration of two functions and their BARs, with
// decoding on and BARs moved over each other, and expects the machine to be there afterwards.
func TestHostileAccessesLeaveTheMachineAlone(t *testing.T) {
	devices := []vmm.Virtio{{Name: "a", Device: rng.New()}, {Name: "b", Device: rng.New()}}
	m := newMachine(t, vmm.Config{Virtio: devices}, func(a *tinyguest.Asm) {
		sweep := func(from uint64, n int32, step int32, value uint64) {
			a.Mov(tinyguest.RBX, from)
			a.Mov(tinyguest.RAX, value)
			for off := int32(0); off < n; off += step {
				for _, size := range []int{1, 2, 4, 8} {
					a.Store(size, tinyguest.RBX, off, tinyguest.RAX)
					a.Load(size, tinyguest.RCX, tinyguest.RBX, off+1)
				}
			}
		}
		for _, slot := range []uint64{1, 2} {
			config := uint64(ecamAddr) + slot<<15
			sweep(config, 0x100, 7, 0x8086_0000_ffff_ffff)
			a.Mov(tinyguest.RBX, config)
			a.Mov(tinyguest.RAX, barAddr) // both at the same place
			a.Store(4, tinyguest.RBX, 0x10, tinyguest.RAX)
			a.Mov(tinyguest.RAX, 6)
			a.Store(4, tinyguest.RBX, 4, tinyguest.RAX)
		}
		sweep(barAddr, 0x400, 13, 0xdead_beef_0000_0001)
		out(a, sleepControlPort, sleepS5)
	})
	if got, err := m.Run(t.Context()); got != vmm.PowerOff || err != nil {
		t.Errorf("Run() = %v, %v; want power-off", got, err)
	}
}

// counter counts in RAM for ever.
func counter(a *tinyguest.Asm) {
	a.Mov(tinyguest.RBX, dataAddr)
	a.Mov(tinyguest.RAX, 0)
	a.Label("count")
	a.Inc(tinyguest.RAX)
	a.Store(8, tinyguest.RBX, 0, tinyguest.RAX)
	a.Jmp("count")
}

// counted waits until the counter is above n and returns it.
func counted(t *testing.T, m *vmm.Machine, n uint64) uint64 {
	t.Helper()
	var p [8]byte
	for t.Context().Err() == nil {
		if _, err := m.Memory().ReadAt(p[:], dataAddr); err != nil {
			t.Fatal(err)
		}
		if v := binary.LittleEndian.Uint64(p[:]); v > n {
			return v
		}
		runtime.Gosched()
	}
	t.Fatal("the guest did not go on")
	return 0
}

func TestPauseStopsTheGuestAndResumeLetsItGoOn(t *testing.T) {
	m := newMachine(t, vmm.Config{}, counter)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := errors.New("enough")
	var run sync.WaitGroup
	run.Go(func() {
		if cause, err := m.Run(ctx); !errors.Is(err, done) {
			t.Errorf("Run() = %v, %v; want the context's cause", cause, err)
		}
	})
	seen := uint64(0)
	for range 20 {
		counted(t, m, seen)
		if err := m.Pause(t.Context()); err != nil {
			t.Fatalf("Pause() = %v", err)
		}
		seen = counted(t, m, 0)
		for range 1000 {
			if now := counted(t, m, 0); now != seen {
				t.Fatalf("the paused guest counted on from %d to %d", seen, now)
			}
		}
		m.Resume()
	}
	counted(t, m, seen)
	late, hurry := context.WithCancel(t.Context())
	hurry()
	for range 100 { // a pause that is not waited for either holds or leaves no trace
		if m.Pause(late) == nil {
			m.Resume()
		}
		counted(t, m, counted(t, m, 0))
	}
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel(done) // a paused machine can be stopped
	run.Wait()
	if err := m.Pause(t.Context()); err == nil {
		t.Error("Pause() of a machine that has ended = nil, want an error")
	}
}

// herald is a device that is to announce itself.
type herald struct {
	*rng.Rng
	asked atomic.Int64
}

func (h *herald) Announce() { h.asked.Add(1) }

func TestDevicesAnnounceThemselvesAfterAPause(t *testing.T) {
	var h, late herald
	h.Rng, late.Rng = rng.New(), rng.New()
	m := newMachine(t, vmm.Config{Virtio: []vmm.Virtio{{Name: "card", Device: &h}, {Name: "rng", Device: rng.New()}}}, counter)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
	m.Resume() // of a machine that runs
	for i := range int64(3) {
		if n := h.asked.Load(); n != i {
			t.Fatalf("asked %d times after %d pauses", n, i)
		}
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Resume()
	}
	if _, err := m.Plug(vmm.Virtio{Name: "late", Device: &late}); err != nil {
		t.Fatal(err)
	}
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Resume()
	if n := late.asked.Load(); n != 1 {
		t.Errorf("the device that was plugged in was asked %d times, want once", n)
	}
	cancel()
	run.Wait()
	m.Resume() // of a machine that has ended
	if n := h.asked.Load(); n != 4 {
		t.Errorf("asked %d times after 4 pauses", n)
	}
}

// TestAReleasedPageComesBackToTheGuest takes the page that the guest counts in, again and again. A guest that kept the old one would
// count where nobody sees it.
func TestAReleasedPageComesBackToTheGuest(t *testing.T) {
	m := newMachine(t, vmm.Config{}, counter)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
	seen := counted(t, m, 0)
	for range 50 {
		if n, err := m.Memory().Release(dataAddr, 4096); n != 4096 || err != nil {
			t.Fatalf("Release = %d, %v", n, err)
		}
		seen = counted(t, m, seen)
	}
	cancel()
	run.Wait()
}

func TestPausedBeforeRunTheGuestWaits(t *testing.T) {
	m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) { out(a, sleepControlPort, sleepS5) })
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() {
		if cause, err := m.Run(t.Context()); cause != vmm.PowerOff || err != nil {
			t.Errorf("Run() = %v, %v; want power-off", cause, err)
		}
	})
	m.Resume()
	run.Wait()
}

func TestRunOfACancelledContextReturns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := newMachine(t, vmm.Config{}, counter)
	if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want context.Canceled", err)
	}
}

func TestAnExitDoesNotAllocate(t *testing.T) {
	const exits = 4000
	m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, exits/4)
		a.Mov(tinyguest.RSI, ecamAddr)
		a.Label("again")
		a.In(serialPort+5, 1)
		out(a, serialPort, 'x')
		a.Load(4, tinyguest.RCX, tinyguest.RSI, 0)
		a.In(0x80, 1)
		a.Dec(tinyguest.RBX)
		a.JNZ("again")
		out(a, sleepControlPort, sleepS5)
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	// Run itself starts goroutines and joins errors; that is some tens of allocations, whatever the guest does.
	if n := after.Mallocs - before.Mallocs; n > exits/20 {
		t.Errorf("%d allocations in %d exits, want none for an exit", n, exits)
	}
}

func TestNewRefuses(t *testing.T) {
	need.KVM(t)
	good := func() vmm.Config {
		return vmm.Config{CPUs: 1, Memory: 16 << 20, Kernel: kernel(t, func(a *tinyguest.Asm) { a.Hlt() })}
	}
	for _, tt := range []struct {
		name   string
		change func(*vmm.Config)
		want   string
	}{
		{"no CPU", func(c *vmm.Config) { c.CPUs = 0 }, "0 CPUs"},
		{"too many CPUs", func(c *vmm.Config) { c.CPUs = vmm.MaxCPUs + 1 }, "65 CPUs"},
		{"little memory", func(c *vmm.Config) { c.Memory = 1 << 20 }, "1048576 bytes of memory"},
		{"odd memory", func(c *vmm.Config) { c.Memory += 17 }, "not a multiple"},
		{"half a huge page", func(c *vmm.Config) { c.Memory, c.HugePages = c.Memory+1<<20, true }, "not in huge pages"},
		{"no KVM", func(c *vmm.Config) { c.KVM = filepath.Join(t.TempDir(), "kvm") }, "no such file"},
		{"not a KVM", func(c *vmm.Config) { c.KVM = "/dev/null" }, "/dev/null"},
		{"long command line", func(c *vmm.Config) { c.Cmdline = strings.Repeat("x", 1<<16) }, "command line"},
		{"many devices", func(c *vmm.Config) {
			for range 40 {
				c.Virtio = append(c.Virtio, vmm.Virtio{Name: "rng", Device: rng.New()})
			}
		}, "slots"},
	} {
		cfg := good()
		tt.change(&cfg)
		m, err := vmm.New(t.Context(), cfg)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New() = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	need.KVM(t)
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	image := kernel(t, func(a *tinyguest.Asm) { out(a, sleepControlPort, sleepS5) })
	once := func(kernel *os.File) {
		m, err := vmm.New(t.Context(), vmm.Config{CPUs: 2, Memory: 16 << 20, Kernel: kernel, Virtio: []vmm.Virtio{{Name: "rng", Device: rng.New()}}})
		if err != nil {
			return // half-built
		}
		if _, err := m.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("second Close() = %v", err)
		}
	}
	once(image) // opens what the runtime keeps, such as its poller
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	before := fds()
	for range 10 {
		once(image)
		once(null)
	}
	if after := fds(); after != before {
		t.Errorf("%d descriptors after 20 machines, %d before", after, before)
	}
}

// stuck is a reader of the serial port that stopped reading, until it is let go.
type stuck struct{ letGo chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.letGo
	return len(p), nil
}

func TestStopDoesNotWaitForAStuckReader(t *testing.T) {
	reader := stuck{make(chan struct{})}
	defer close(reader.letGo)
	m := newMachine(t, vmm.Config{Serial: reader}, func(a *tinyguest.Asm) {
		a.Mov(tinyguest.RBX, dataAddr)
		a.Label("again")
		out(a, serialPort, 'x')
		a.Store(8, tinyguest.RBX, 0, tinyguest.RBX) // counted sees that the guest runs
		a.Jmp("again")
	})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
	counted(t, m, 0)
	cancel()
	run.Wait()
}

func TestAMachineRunsOnce(t *testing.T) {
	m := newMachine(t, vmm.Config{}, func(a *tinyguest.Asm) { out(a, sleepControlPort, sleepS5) })
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context()); err == nil {
		t.Error("second Run() = nil, want an error")
	}
}
