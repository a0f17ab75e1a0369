package console

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

// guest is a driver after virtio 1.2 section 5.3, as far as Linux's goes.
type guest struct {
	*virtiotest.Driver
	t     testing.TB
	inBuf map[uint16]virtiotest.Buffer
}

var features = map[string]uint64{
	"plain":     FeatureMultiport,
	"event idx": FeatureMultiport | virtio.FeatureEventIdx,
}

// pipes makes a console whose ports have pipes, and the far ends of these.
func pipes(t testing.TB, ports ...Port) (*Console, []net.Conn) {
	t.Helper()
	var far []net.Conn
	for i := range ports {
		a, b := net.Pipe()
		ports[i].Conn = a
		far = append(far, b)
		t.Cleanup(func() { b.Close() })
	}
	return newConsole(t, Config{Ports: ports}), far
}

func newConsole(t testing.TB, c Config) *Console {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return d
}

// boot starts a driver, without the first control message.
func boot(t testing.TB, d *Console, f uint64) *guest {
	t.Helper()
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: f}), t: t}
	g.fillControl()
	return g
}

func (g *guest) fillControl() {
	g.inBuf = map[uint16]virtiotest.Buffer{}
	for range 8 {
		b := g.In(4096)
		g.inBuf[g.Queues[2].Add(b)] = b
	}
}

// message makes a control message available to the device.
func (g *guest) message(id uint32, event, value uint16) {
	g.t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	g.Queues[3].Add(g.Out(b))
}

// tell sends a control message and waits until the device took it.
func (g *guest) tell(id uint32, event, value uint16) {
	g.t.Helper()
	g.message(id, event, value)
	if _, _, ok := g.Queues[3].Wait(); !ok {
		g.t.Fatalf("the device broke: %v", g.Broken())
	}
}

// hear waits for the next control message and gives its buffer back.
func (g *guest) hear() string {
	g.t.Helper()
	head, n, ok := g.Queues[2].Wait()
	if !ok {
		g.t.Fatalf("the device broke: %v", g.Broken())
	}
	buf := g.inBuf[head]
	delete(g.inBuf, head)
	m := g.Bytes(buf)[:n]
	defer func() { g.inBuf[g.Queues[2].Add(buf)] = buf }()
	if len(m) < controlSize {
		return fmt.Sprintf("%d bytes", len(m))
	}
	id, event, value := binary.LittleEndian.Uint32(m), binary.LittleEndian.Uint16(m[4:]), binary.LittleEndian.Uint16(m[6:])
	names := map[uint16]string{portAdd: "add", consolePort: "console", portName: "name", portOpen: "open", resize: "resize"}
	s := fmt.Sprintf("%d %s %d", id, names[event], value)
	if event == resize {
		return fmt.Sprintf("%s %dx%d", s, binary.LittleEndian.Uint16(m[8:]), binary.LittleEndian.Uint16(m[10:]))
	}
	if rest := m[controlSize:]; len(rest) > 0 {
		s += " " + string(rest)
	}
	return s
}

func (g *guest) expect(want ...string) {
	g.t.Helper()
	for _, w := range want {
		if got := g.hear(); got != w {
			g.t.Fatalf("control message %q, want %q", got, w)
		}
	}
}

// open sets generic port id up and opens it.
func (g *guest) open(id uint32, name string) {
	g.t.Helper()
	g.tell(id, portReady, 1)
	g.expect(fmt.Sprintf("%d name 1 %s", id, name), fmt.Sprintf("%d open 1", id))
	g.tell(id, portOpen, 1)
}

// rx and tx are the queues of a port.
func (g *guest) rx(id uint32) *virtiotest.Queue { return g.Queues[receiveQueue(id)] }
func (g *guest) tx(id uint32) *virtiotest.Queue { return g.Queues[receiveQueue(id)+1] }

// write sends data from the guest in chunks of up to 32 KiB, as Linux does, and waits until they are taken.
func (g *guest) write(id uint32, data []byte) {
	q := g.tx(id)
	buf := virtiotest.Buffer{}
	for len(data) > 0 {
		n := min(len(data), 32<<10)
		if buf.Len == 0 {
			buf = g.Out(make([]byte, 32<<10))
		}
		b := buf
		b.Len = uint32(n)
		copy(g.Bytes(b), data[:n])
		q.Add(b)
		if _, _, ok := q.Wait(); !ok {
			g.t.Errorf("the device broke: %v", g.Broken())
			return
		}
		data = data[n:]
	}
}

// read receives n bytes in the guest, into pages of which as many as fit are given at a time.
func (g *guest) read(id uint32, n int) []byte {
	q := g.rx(id)
	bufs := map[uint16]virtiotest.Buffer{}
	for q.Free() > 0 {
		b := g.In(4096)
		bufs[q.Put(b)] = b
	}
	q.Publish()
	var got []byte
	for len(got) < n {
		head, written, ok := q.Wait()
		if !ok {
			g.t.Errorf("the device broke: %v", g.Broken())
			return got
		}
		b := bufs[head]
		got = append(got, g.Bytes(b)[:written]...)
		delete(bufs, head)
		bufs[q.Add(b)] = b
	}
	return got
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

func TestHandshake(t *testing.T) {
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			d, _ := pipes(t, Port{Name: "one"}, Port{Console: true}, Port{Name: "two"}, Port{Name: "extra", Console: true})
			d.Resize(80, 25)
			g := boot(t, d, f)
			g.tell(0, deviceReady, 1)
			g.expect("0 add 1", "1 add 1", "2 add 1", "3 add 1")
			g.tell(2, portReady, 1)
			g.expect("2 name 1 two", "2 open 1")
			g.tell(0, portReady, 1)
			g.expect("0 console 1", "0 open 1", "0 resize 0 80x25")
			g.tell(1, portReady, 1)
			g.expect("1 name 1 one", "1 open 1")
			d.Resize(132, 50)
			g.expect("0 resize 0 132x50")
			g.tell(3, portReady, 1)
			g.expect("3 console 1", "3 name 1 extra", "3 open 1", "3 resize 0 132x50")
		})
	}
}

func TestConfigSpace(t *testing.T) {
	d, _ := pipes(t, Port{Name: "a"}, Port{Name: "b"})
	d.Resize(132, 50)
	got := make([]byte, 16)
	d.ReadConfig(got, 0)
	if want := []byte{132, 0, 50, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("config = %v, want %v", got, want)
	}
	for off, want := range map[int]byte{2: 50, 4: 3, 12: 0, 1000: 0, -1: 0} {
		one := []byte{0xff}
		if d.ReadConfig(one, off); one[0] != want {
			t.Errorf("config at %d = %d, want %d", off, one[0], want)
		}
	}
	if n := len(d.QueueSizes()); n != 8 || d.ID() != 3 || d.Features() != FeatureSize|FeatureMultiport {
		t.Errorf("%d queues, ID %d, features %#x; want 8, 3 and SIZE and MULTIPORT", n, d.ID(), d.Features())
	}
}

func TestNewRefuses(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	tests := []struct {
		name  string
		ports []Port
	}{
		{"no connection", []Port{{Name: "x"}}},
		{"no name", []Port{{Conn: a}}},
		{"two of a name", []Port{{Name: "x", Conn: a}, {Name: "x", Conn: b}}},
		{"a long name", []Port{{Name: strings.Repeat("x", MaxName+1), Conn: a}}},
		{"a name with a slash", []Port{{Name: "a/b", Conn: a}}},
		{"too many", slices.Repeat([]Port{{Console: true, Conn: a}}, MaxPorts+1)},
	}
	for _, tt := range tests {
		if _, err := New(Config{Ports: tt.ports}); err == nil {
			t.Errorf("%s: New succeeded", tt.name)
		}
	}
}

// 16 MB each way at a time, through sockets as the machine uses them.
func TestStreams(t *testing.T) {
	const size = 16 << 20
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			near, far := socketpair(t)
			g := boot(t, newConsole(t, Config{Ports: []Port{{Name: "data", Conn: near}}}), f)
			g.open(1, "data")
			data := random(size)
			var host sync.WaitGroup
			host.Go(func() {
				if _, err := far.Write(data); err != nil {
					t.Error(err)
				}
			})
			host.Go(func() {
				got := make([]byte, size)
				if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, data) {
					t.Errorf("the host reads other bytes than the guest wrote (%v)", err)
				}
			})
			// Alloc is not for two goroutines: the writer's buffer is taken first.
			var reader []byte
			out := g.Out(make([]byte, 32<<10))
			host.Go(func() {
				q := g.tx(1)
				for off := 0; off < size; off += int(out.Len) {
					copy(g.Bytes(out), data[off:])
					q.Add(out)
					if _, _, ok := q.Wait(); !ok {
						t.Errorf("the device broke: %v", g.Broken())
						return
					}
				}
			})
			reader = g.read(1, size)
			host.Wait()
			if !bytes.Equal(reader, data) {
				t.Error("the guest reads other bytes than the host wrote")
			}
			t.Logf("%d pages received with %d kicks and %d interrupts", size/4096, g.rx(1).Kicks(), g.rx(1).Interrupts())
		})
	}
}

func socketpair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	return conn(fds[0]), conn(fds[1])
}

// A guest that gives no buffers on one port, and a host that does not read another, leave the third and control alone.
func TestBlockedPortsBlockNobodyElse(t *testing.T) {
	d, far := pipes(t, Port{Name: "deaf guest"}, Port{Name: "deaf host"}, Port{Name: "good"})
	g := boot(t, d, features["event idx"])
	g.open(1, "deaf guest")
	g.open(2, "deaf host")
	data := random(300 << 10)
	var host sync.WaitGroup
	host.Go(func() {
		if _, err := far[0].Write(data); err != nil {
			t.Error(err)
		}
	})
	out := g.Out(data[:100<<10])
	g.tx(2).Add(out)

	g.open(3, "good")
	host.Go(func() {
		got := make([]byte, 5)
		if _, err := io.ReadFull(far[2], got); err != nil || string(got) != "hello" {
			t.Errorf("the host reads %q, %v", got, err)
		}
		if _, err := far[2].Write([]byte("world")); err != nil {
			t.Error(err)
		}
	})
	g.write(3, []byte("hello"))
	if got := g.read(3, 5); string(got) != "world" {
		t.Errorf("the guest reads %q", got)
	}
	if _, _, ok := g.tx(2).Take(); ok {
		t.Error("a chain that the host did not read came back")
	}
	if n := d.Stats().Ports[0].ToGuest; n != 0 {
		t.Errorf("%d bytes went to a guest without buffers", n)
	}

	got := make([]byte, 100<<10)
	if _, err := io.ReadFull(far[1], got); err != nil || !bytes.Equal(got, data[:100<<10]) {
		t.Errorf("the slow host reads other bytes (%v)", err)
	}
	if _, _, ok := g.tx(2).Wait(); !ok {
		t.Errorf("the device broke: %v", g.Broken())
	}
	if got := g.read(1, len(data)); !bytes.Equal(got, data) {
		t.Error("the slow guest reads other bytes")
	}
	host.Wait()
}

// still yields until whatever could happen has had its chance, and says whether it did not.
func still(happened func() bool) bool {
	for range 100000 {
		if happened() {
			return false
		}
		runtime.Gosched()
	}
	return true
}

func TestClosedPortGetsNothing(t *testing.T) {
	heard := make(chan bool, 10)
	d, far := pipes(t, Port{Name: "p", Opened: func(open bool) { heard <- open }})
	g := boot(t, d, features["event idx"])
	g.tell(1, portReady, 1)
	g.expect("1 name 1 p", "1 open 1")
	q, b := g.rx(1), g.In(4096)
	wrote := make(chan struct{}, 1)
	write := func(s string) {
		far[0].Write([]byte(s))
		wrote <- struct{}{}
	}
	go write("first")
	if !still(func() bool { return len(wrote) > 0 }) {
		t.Error("bytes were read for a port that nobody opened")
	}
	g.tell(1, portOpen, 1)
	if !<-heard {
		t.Error("Opened(false) for an open port")
	}
	<-wrote // read by the device; the guest has given no buffer yet
	g.tell(1, portOpen, 0)
	if <-heard {
		t.Error("Opened(true) for a closed port")
	}
	q.Add(b)
	if !still(func() bool { _, _, ok := q.Take(); return ok }) {
		t.Error("a closed port got bytes")
	}
	g.tell(1, portOpen, 1)
	if _, n, ok := q.Wait(); !ok || string(g.Bytes(b)[:n]) != "first" {
		t.Errorf("after it opens again, the guest reads %q", g.Bytes(b)[:n])
	}
}

// A console needs no PORT_OPEN of the driver: Linux sends none.
func TestConsoleIsOpenWhenItIsReady(t *testing.T) {
	d, far := pipes(t, Port{Console: true})
	g := boot(t, d, features["event idx"])
	g.tell(0, portReady, 1)
	g.expect("0 console 1", "0 open 1")
	go far[0].Write([]byte("typed"))
	if got := g.read(0, 5); string(got) != "typed" {
		t.Errorf("the guest reads %q", got)
	}
}

// flaky fails one Write.
type flaky struct {
	net.Conn
	failed bool
	got    []byte
}

func (f *flaky) Write(b []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return 0, errors.New("once")
	}
	f.got = append(f.got, b...)
	return len(b), nil
}

// A stream with a hole in it is worse than one that ends.
func TestNothingFollowsAFailedWrite(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	conn := &flaky{Conn: near}
	g := boot(t, newConsole(t, Config{Ports: []Port{{Name: "p", Conn: conn}}}), features["event idx"])
	g.open(1, "p")
	g.write(1, []byte("lost"))
	g.write(1, []byte("late"))
	g.expect("1 open 0")
	g.Stop()
	if len(conn.got) != 0 {
		t.Errorf("the host gets %q after a failed write", conn.got)
	}
}

func TestHostCloseComesAfterTheLastByte(t *testing.T) {
	d, far := pipes(t, Port{Name: "p"})
	g := boot(t, d, features["event idx"])
	g.open(1, "p")
	data := random(100 << 10)
	go func() {
		far[0].Write(data)
		far[0].Close()
	}()
	if got := g.read(1, len(data)); !bytes.Equal(got, data) {
		t.Error("the guest reads other bytes")
	}
	g.expect("1 open 0")
	g.write(1, []byte("into the void"))
	if s := d.Stats().Ports[0]; s.Dropped != 13 || s.FromGuest != 0 || s.ToGuest != uint64(len(data)) || s.Write.Count() != 1 {
		t.Errorf("Stats = %+v, want %d bytes to the guest, and one write, with 13 bytes dropped", s, len(data))
	}
}

func TestWithoutMultiportThereIsOneConsole(t *testing.T) {
	d, far := pipes(t, Port{Name: "p"}, Port{Console: true})
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{}), t: t}
	go far[1].Write([]byte("boot"))
	if got := g.read(0, 4); string(got) != "boot" {
		t.Errorf("the guest reads %q", got)
	}
	got := make([]byte, 5)
	var host sync.WaitGroup
	host.Go(func() { io.ReadFull(far[1], got) })
	g.write(0, []byte("login"))
	if host.Wait(); string(got) != "login" {
		t.Errorf("the host reads %q", got)
	}
}

// plainConn hides the deadlines of a connection.
type plainConn struct{ io.ReadWriteCloser }

// Stop ends goroutines that wait in Read and Write; a connection with deadlines works again after it.
func TestStopEndsReadAndWrite(t *testing.T) {
	for _, deadlines := range []bool{true, false} {
		t.Run(fmt.Sprintf("deadlines %v", deadlines), func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			var conn io.ReadWriteCloser = near
			if !deadlines {
				conn = plainConn{near}
			}
			d := newConsole(t, Config{Ports: []Port{{Name: "p", Conn: conn}}})
			g := boot(t, d, features["event idx"])
			g.open(1, "p")
			g.tx(1).Add(g.Out(make([]byte, 1000)))
			one := make([]byte, 1)
			if _, err := far.Read(one); err != nil { // now the Write is under way
				t.Fatal(err)
			}
			g.Restart()
			g.fillControl()
			g.tell(1, portReady, 1)
			if !deadlines {
				g.expect("1 name 1 p", "1 open 0")
				g.write(1, []byte("dropped"))
				return
			}
			g.expect("1 name 1 p", "1 open 1")
			g.tell(1, portOpen, 1)
			go far.Write([]byte("again"))
			if got := g.read(1, 5); string(got) != "again" {
				t.Errorf("after a reset the guest reads %q", got)
			}
		})
	}
}

// What was read from the host but not delivered is there after a reset.
func TestUnreadBytesSurviveAReset(t *testing.T) {
	d, far := pipes(t, Port{Name: "p"})
	g := boot(t, d, features["plain"])
	g.open(1, "p")
	data := random(10000)
	if _, err := far[0].Write(data); err != nil { // returns when the device has read it all
		t.Fatal(err)
	}
	for range 3 {
		g.Restart()
		g.fillControl()
		g.open(1, "p")
	}
	if got := g.read(1, len(data)); !bytes.Equal(got, data) {
		t.Error("after a reset the guest reads other bytes")
	}
}

func TestMissingQueues(t *testing.T) {
	for i := range 6 {
		d, _ := pipes(t, Port{Name: "p"}, Port{Console: true})
		drv := virtiotest.Start(t, d, virtiotest.Config{Features: FeatureMultiport, Missing: []int{i}})
		g := &guest{Driver: drv, t: t}
		if i != 2 {
			g.fillControl()
		}
		if i != 3 {
			for id := range uint32(2) {
				g.tell(id, portReady, 1)
				g.tell(id, portOpen, 1)
			}
		}
		d.Resize(uint16(i), 1)
	}
	d, _ := pipes(t, Port{Name: "p"})
	if err := d.Start(0, make([]*virtio.Queue, 3)); err == nil {
		t.Error("Start with too few queues succeeded")
	}
}

func TestHostileControl(t *testing.T) {
	d, _ := pipes(t, Port{Name: "p"})
	g := boot(t, d, features["event idx"])
	q := g.Queues[3]
	for _, m := range [][]virtiotest.Buffer{
		{g.Out([]byte{1, 0, 0})},          // too short
		{g.In(100)},                       // nothing to read
		{g.Out(make([]byte, 7))},          // one byte too few
		{g.Out([]byte{1}), g.Out(nil8())}, // cut in pieces: still a message, for port 1
	} {
		q.Add(m...)
		if _, n, ok := q.Wait(); !ok || n != 0 {
			t.Fatalf("used with %d bytes, ok %v", n, ok)
		}
	}
	for _, m := range [][3]uint32{{0, portReady, 1}, {2, portReady, 1}, {1 << 31, portOpen, 1}, {1, 99, 1}, {1, portAdd, 1}, {1, portReady, 0}, {0, deviceReady, 0}} {
		g.tell(m[0], uint16(m[1]), uint16(m[2]))
	}
	if n := d.Stats().Ignored; n != 8 {
		t.Errorf("%d control messages ignored, want 8", n)
	}
	g.open(1, "p") // and it works
}

func nil8() []byte { return make([]byte, 8) }

// A driver that asks a thousand times without giving buffers gets one answer of each kind.
func TestControlDoesNotGrow(t *testing.T) {
	d, _ := pipes(t, Port{Name: "p"})
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: FeatureMultiport}), t: t}
	for range 1000 {
		g.tell(0, deviceReady, 1)
		g.tell(1, portReady, 1)
	}
	g.Queues[2].Add(g.In(controlSize - 1)) // too small for any message: that one is lost
	if _, n, ok := g.Queues[2].Wait(); !ok || n != 0 {
		t.Errorf("a small buffer comes back with %d bytes, ok %v", n, ok)
	}
	g.fillControl()
	g.expect("1 name 1 p", "1 open 1")
	g.tell(1, portReady, 1)
	g.expect("1 name 1 p", "1 open 1")
}

func TestDataQueuesTakeOddChains(t *testing.T) {
	d, far := pipes(t, Port{Name: "p"})
	g := boot(t, d, features["plain"])
	g.open(1, "p")
	g.tx(1).Add(g.In(10)) // nothing to send
	if _, n, ok := g.tx(1).Wait(); !ok || n != 0 {
		t.Errorf("used with %d bytes, ok %v", n, ok)
	}
	g.rx(1).Put(g.Out(make([]byte, 10))) // no room
	b := []virtiotest.Buffer{g.In(1), g.In(3), g.In(100)}
	g.rx(1).Put(b...)
	g.rx(1).Publish()
	go far[0].Write([]byte("scattered"))
	if _, n, ok := g.rx(1).Wait(); !ok || n != 0 {
		t.Errorf("a chain without room is used with %d bytes, ok %v", n, ok)
	}
	if _, n, ok := g.rx(1).Wait(); !ok || n != 9 || string(g.Bytes(b[1])) != "cat" || string(g.Bytes(b[2])[:5]) != "tered" {
		t.Errorf("used with %d bytes: %q %q %q", n, g.Bytes(b[0]), g.Bytes(b[1]), g.Bytes(b[2])[:5])
	}
}

func TestBrokenQueueStops(t *testing.T) {
	for i, provoke := range map[int]func(g *guest, far net.Conn){
		2: func(g *guest, _ net.Conn) { g.message(1, portReady, 1) },
		3: func(*guest, net.Conn) {},
		4: func(g *guest, far net.Conn) {
			g.message(1, portOpen, 1)
			go far.Write([]byte("x"))
		},
		5: func(*guest, net.Conn) {},
	} {
		d, far := pipes(t, Port{Name: "p"})
		g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: FeatureMultiport}), t: t}
		g.Queues[i].SetAvailableIndex(0x8000)
		provoke(g, far[0])
		for len(g.Broken()) == 0 {
			runtime.Gosched()
		}
		g.Stop() // returns
	}
}

func TestGoroutinesEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		d, far := pipes(t, Port{Name: "p"}, Port{Console: true})
		g := boot(t, d, features["event idx"])
		g.open(1, "p")
		g.tell(0, portReady, 1)
		g.Restart()
		g.Stop()
		d.Stop()
		for _, c := range far {
			c.Close()
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

func TestCloseReportsErrors(t *testing.T) {
	bad := errors.New("bad")
	d, err := New(Config{Ports: []Port{{Name: "p", Conn: badCloser{bad}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, bad) {
		t.Errorf("Close() = %v, want %v", err, bad)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close() = %v", err)
	}
}

type badCloser struct{ err error }

func (badCloser) Read([]byte) (int, error)    { return 0, io.EOF }
func (badCloser) Write(b []byte) (int, error) { return len(b), nil }
func (c badCloser) Close() error              { return c.err }

// FuzzDriver lets bytes choose what a driver does on all queues. The device must survive and must stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{3, 0, 1, 0, 0, 0, 3, 0, 1, 0})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 250, 251, 252, 253, 254, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		d, far := pipes(t, Port{Name: "p"}, Port{Console: true})
		for _, c := range far {
			go io.Copy(io.Discard, c)
		}
		drv := virtiotest.Start(t, d, virtiotest.Config{Features: FeatureMultiport | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc, Size: 8})
		virtiotest.Script(drv, script)
		drv.Stop()
	})
}
