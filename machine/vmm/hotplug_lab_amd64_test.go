package vmm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	stdnet "net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/internal/attach"
	"usui/internal/guestimage"
	"usui/internal/lab"
	"usui/machine/block"
	"usui/machine/virtio/blk"
	"usui/machine/virtio/console"
	"usui/machine/virtio/net"
	"usui/machine/virtio/rng"
	"usui/machine/vmm"
)

// stock is a stock kernel with a shell in it.
type stock struct {
	*vmm.Machine
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// bootStock boots the default guest with a disk, and again if it faults before its init as the lab's processor has it now and then. A
// random number generator is plugged in whenever one of marks comes in the kernel's log.
func bootStock(t *testing.T, marks ...string) *stock {
	t.Helper()
	need.Lab(t, lab.KVM)
	self, err := filepath.Abs("../../bin/usui-init") // as make build leaves it
	if err != nil {
		t.Fatal(err)
	}
	image, err := guestimage.Default(t.Context(), guestimage.Options{Init: self})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if g := tryStock(t, image, marks); g != nil {
			return g
		}
	}
	t.Fatal("the guest faults before its init each time")
	return nil
}

// open opens a file until the test's end.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tryStock returns nil if the guest ended before it said hello.
func tryStock(t *testing.T, image guestimage.Image, marks []string) *stock {
	t.Helper()
	var conns attach.Conns
	var ports []console.Port
	for name, ours := range map[string]*io.ReadWriteCloser{
		"usui.control": &conns.Control, "usui.stdin": &conns.Stdin, "usui.stdout": &conns.Stdout, "usui.stderr": &conns.Stderr,
	} {
		a, b := stdnet.Pipe()
		*ours = a
		ports = append(ports, console.Port{Name: name, Conn: b})
	}
	device, err := console.New(console.Config{Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	_, boot := newDisk(t, 1<<20)
	cfg := vmm.Config{
		CPUs: 2, Memory: 256 << 20, Kernel: open(t, image.Kernel), Initrd: open(t, image.Initrd),
		Cmdline: "console=ttyS0 panic=-1 cryptomgr.notests",
		Virtio:  []vmm.Virtio{{Name: "vda", Device: boot}, {Name: "console", Device: device}},
	}
	early := &earlyPlugs{t: t, marks: marks}
	if cfg.Serial = early; len(marks) == 0 {
		cfg.Cmdline += " quiet"
	}
	m, err := vmm.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	early.machine = m
	input, commands := io.Pipe()
	answers, output := io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	hello := make(chan bool, 1)
	var running sync.WaitGroup
	running.Go(func() { // ends with the guest, or by stop
		cause, err := m.Run(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, %v", cause, err)
		}
		conns.Close()
	})
	running.Go(func() { // likewise
		_, err := attach.Run(ctx, conns, attach.Command{Argv: []string{"sh"}}, attach.Stdio{
			Stdin: input, Stdout: output, Stderr: output, OnHello: func(attach.Hello) { hello <- true },
		})
		output.CloseWithError(fmt.Errorf("the guest's shell has ended: %v", err))
		close(hello)
	})
	t.Cleanup(func() {
		commands.Close()
		answers.Close()
		stop()
		running.Wait()
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	if !<-hello {
		return nil
	}
	return &stock{Machine: m, t: t, in: commands, out: bufio.NewReader(answers)}
}

// earlyPlugs is a serial port that plugs devices in while the kernel boots.
type earlyPlugs struct {
	t       *testing.T
	machine *vmm.Machine
	marks   []string
	said    []byte
}

// Write implements io.Writer.
func (e *earlyPlugs) Write(p []byte) (int, error) {
	e.said = append(e.said, p...)
	for len(e.marks) > 0 && bytes.Contains(e.said, []byte(e.marks[0])) {
		if _, err := e.machine.Plug(vmm.Virtio{Name: e.marks[0], Device: rng.New()}); err != nil {
			e.t.Errorf("Plug when the kernel says %q = %v", e.marks[0], err)
		}
		e.marks = e.marks[1:]
	}
	return len(p), nil
}

// sh runs a script in the guest's shell and returns what it said.
func (g *stock) sh(script string) string {
	g.t.Helper()
	const end = "that was it"
	if _, err := io.WriteString(g.in, script+"\necho\necho "+end+"\n"); err != nil {
		g.t.Fatalf("%s: %v", script, err)
	}
	var said strings.Builder
	for {
		line, err := g.out.ReadString('\n')
		if err != nil {
			g.t.Fatalf("%s: %v, after %q", script, err, said.String())
		}
		if line == end+"\n" {
			return strings.TrimSpace(said.String())
		}
		said.WriteString(line)
	}
}

// newDisk is a disk of noise and the hash of its bytes.
func newDisk(t *testing.T, size int) (hash string, device *blk.Blk) {
	t.Helper()
	noise := make([]byte, size)
	rand.Read(noise)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := block.OpenFile(path, block.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if device, err = blk.New(blk.Config{Backend: file}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(noise)), device
}

func (g *stock) plug(v vmm.Virtio) (slot int) {
	g.t.Helper()
	slot, err := g.Plug(v)
	if err != nil {
		g.t.Fatalf("Plug = %v", err)
	}
	return slot
}

func (g *stock) unplug(name string) {
	g.t.Helper()
	if err := g.Unplug(g.t.Context(), name); err != nil {
		g.t.Fatalf("Unplug = %v", err)
	}
}

// await waits until a condition of test(1) holds in the guest.
func (g *stock) await(condition string) {
	g.t.Helper()
	g.sh("while ! [ " + condition + " ]; do usleep 10000; done")
}

// TestLabHotplugDisk plugs disks of several sizes into a stock kernel, reads them there, and takes them out again.
func TestLabHotplugDisk(t *testing.T) {
	g := bootStock(t)
	g.sh("dmesg -c >/dev/null") // what the kernel thinks of the lab's processor
	for i := range 20 {
		size := (1 + i%3) << 20
		hash, disk := newDisk(t, size)
		gone := false
		slot := g.plug(vmm.Virtio{Name: "extra", Device: disk, Gone: func() { gone = true }})
		g.await("-b /dev/vdb")
		want := fmt.Sprintf("%d\n%s  -", size/512, hash)
		if got := g.sh("cat /sys/block/vdb/size; sha256sum </dev/vdb"); got != want {
			t.Fatalf("cycle %d: the guest says %q of the disk in slot %d, want %q", i, got, slot, want)
		}
		switch i % 4 {
		case 1: // while it is read
			g.sh("dd if=/dev/vdb of=/dev/null bs=4k iflag=direct count=1000000 >/dev/null 2>&1 &")
			g.unplug("extra")
			g.sh("wait")
		case 2: // by the guest's own wish
			g.sh(fmt.Sprintf("echo 0 >/sys/bus/pci/slots/%d/power", slot))
		default:
			g.unplug("extra")
		}
		if got := g.sh("ls /sys/block"); got != "vda" || !gone || len(g.Devices()) != 2 {
			t.Fatalf("cycle %d: the guest has the disks %q after unplugging, the owner was told: %t, devices %v", i, got, gone, g.Devices())
		}
	}
	if said := g.sh("dmesg | grep -i -e 'acpi.*error' -e 'call trace' -e 'BAR.*fail' -e acpiphp_glue"); said != "" {
		t.Errorf("the kernel complains:\n%s", said)
	}
}

// TestLabHotplugCard plugs network cards into a guest that had none, and so no driver for one.
func TestLabHotplugCard(t *testing.T) {
	g := bootStock(t)
	for range 3 {
		peer, device := newCard(t)
		gone := false
		slot := g.plug(vmm.Virtio{Name: "card", Device: device, Gone: func() { gone = true }})
		g.await("-e /sys/class/net/eth0")
		want := fmt.Sprintf("/sys/devices/pci0000:00/0000:00:%02x.0", slot)
		if got := g.sh("cd -P /sys/class/net/eth0/device/.. && pwd; cd /"); got != want {
			t.Errorf("the card is at %q, want %q", got, want)
		}
		g.sh("ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0; ping -c 3 10.9.0.2 >/dev/null 2>&1 &")
		request := nextFrame(t, peer, 0x0806)
		send(t, peer, answer(request))
		nextFrame(t, peer, 0x0800) // it has understood who answers
		g.unplug("card")
		if got := g.sh("ls /sys/class/net"); got != "lo" || !gone {
			t.Errorf("interfaces %q after unplugging, want lo; the owner was told: %t", got, gone)
		}
	}
}

// newCard is a network card and the socket at the other end of its cable.
func newCard(t *testing.T) (peer *os.File, device *net.Net) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer = os.NewFile(uintptr(fds[0]), "cable")
	t.Cleanup(func() {
		peer.Close()
		unix.Close(fds[1])
	})
	device, err = net.New(net.Config{Name: "cable", Backend: net.Sockets{FDs: fds[1:]}, MAC: [6]byte{0x52, 0x54, 0, 0, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	return peer, device
}

// frameHeader is what comes before each frame (virtio 1.2 section 5.1.6).
const frameHeader = 12

// nextFrame waits for a frame of an Ethernet type and returns it.
func nextFrame(t *testing.T, peer io.Reader, kind uint16) []byte {
	t.Helper()
	for {
		p := make([]byte, 64<<10)
		n, err := peer.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		if frame := p[frameHeader:n]; binary.BigEndian.Uint16(frame[12:]) == kind {
			return frame
		}
	}
}

func send(t *testing.T, peer io.Writer, frame []byte) {
	t.Helper()
	if _, err := peer.Write(append(make([]byte, frameHeader), frame...)); err != nil {
		t.Fatal(err)
	}
}

// answer makes an ARP request (RFC 826) its answer, from 52:54:00:00:00:02.
func answer(request []byte) []byte {
	mac := []byte{0x52, 0x54, 0, 0, 0, 2}
	a := slices.Concat(request[6:12], mac, request[12:20], []byte{0, 2}) // to whom, from whom, types and sizes, "reply"
	return slices.Concat(a, mac, request[38:42], request[22:32])         // who has the address that was asked for, and who asked
}

// TestLabHotplugSeveral takes all slots at once, and takes out a device that was there at boot.
func TestLabHotplugSeveral(t *testing.T) {
	g := bootStock(t)
	if got := g.sh("ls /sys/bus/pci/devices | wc -l"); got != "3" {
		t.Errorf("the guest has %s PCI devices at boot, want the bridge, the disk and the console", got)
	}
	names := []string{"vda"}
	for i := range vmm.SpareSlots {
		names = append(names, fmt.Sprint("rng", i))
		g.plug(vmm.Virtio{Name: names[1+i], Device: rng.New()})
	}
	if slot, err := g.Plug(vmm.Virtio{Name: "one more", Device: rng.New()}); err == nil {
		t.Errorf("Plug finds slot %d, which the guest does not know", slot)
	}
	g.await(fmt.Sprintf("$(ls /sys/bus/pci/drivers/virtio-pci | grep -c ^0000) = %d", 2+vmm.SpareSlots))
	if got := g.sh("head -c 100 /dev/hwrng | wc -c"); got != "100" {
		t.Errorf("the guest reads %q bytes of /dev/hwrng, want 100", got)
	}
	for _, d := range g.Devices() {
		if d.State != vmm.Present {
			t.Errorf("%s in slot %d is %v, want present", d.Name, d.Slot, d.State)
		}
	}
	var calls sync.WaitGroup
	for _, name := range names {
		calls.Go(func() {
			if err := g.Unplug(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if got := g.sh("ls /sys/bus/pci/devices | wc -l; ls /sys/block"); got != "2" {
		t.Errorf("the guest has PCI devices and disks %q, want the bridge and the console and no disk", got)
	}
	g.plug(vmm.Virtio{Name: "rng", Device: rng.New()})
	g.await("-e /sys/bus/pci/drivers/virtio-pci/0000:00:01.0") // the slot of the disk
}

// TestLabHotplugWhileBooting plugs devices in before the kernel looks at the bus, after that but before it has a driver for the
// interrupt, and when it has. It finds them all.
func TestLabHotplugWhileBooting(t *testing.T) {
	marks := []string{"Linux version", "PCI host bridge to bus", "vgaarb", "Run /init"}
	g := bootStock(t, marks...)
	g.await(fmt.Sprintf("$(ls /sys/bus/pci/drivers/virtio-pci | grep -c ^0000) = %d", 2+len(marks)))
	for _, name := range marks {
		g.unplug(name)
	}
	if got := g.sh("ls /sys/bus/pci/devices | wc -l"); got != "3" {
		t.Errorf("the guest has %s PCI devices, want the bridge, the disk and the console", got)
	}
}
