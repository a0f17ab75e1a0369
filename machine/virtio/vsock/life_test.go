package vsock

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/machine/virtio/virtiotest"
)

// Whoever does not say which port he wants makes room for others.
func TestSilentClientsTimeOut(t *testing.T) {
	d := newDevice(t)
	d.limits.hellos, d.limits.hello = 2, time.Millisecond
	g := boot(t, d, allFeatures)
	var silent []*net.UnixConn
	for range 5 {
		silent = append(silent, dial(t, d, ""))
	}
	var client sync.WaitGroup
	client.Go(func() {
		for { // it may be too slow itself, on a busy host
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: d.Path})
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "CONNECT 1\n")
			n, _ := c.Read(make([]byte, 20))
			c.Close()
			if n > 0 {
				return
			}
		}
	})
	g.accept(1)
	client.Wait()
	for _, c := range silent {
		readEnd(t, c)
	}
	if n := d.Stats().TimedOut; n < 5 {
		t.Errorf("%d timed out, want 5 at least", n)
	}
}

func TestSilentGuestTimesOut(t *testing.T) {
	d := newDevice(t)
	d.limits.answer = time.Millisecond
	g := boot(t, d, allFeatures)
	c := dial(t, d, "CONNECT 1\n")
	if p := g.recv(); p.op != opRequest {
		t.Fatalf("got %v, want a request", p)
	}
	if p := g.recv(); p.op != opReset || p.dstPort != 1 {
		t.Errorf("got %v, want a reset", p)
	}
	readEnd(t, c)
}

func TestClosedConnectionsTimeOut(t *testing.T) {
	d := newDevice(t)
	d.limits.end = time.Millisecond
	g := boot(t, d, allFeatures)
	s, c := g.connect(listenHost(t, d, 1), 2, 1)
	c.Close()
	s.want(opShutdown)
	s.want(opReset)
	if n := d.Stats().Open; n != 0 {
		t.Errorf("%d connections are open, want none", n)
	}
}

func TestTooManyConnections(t *testing.T) {
	d := newDevice(t)
	d.limits.conns = 4
	g := boot(t, d, allFeatures)
	l := listenHost(t, d, 1)
	var first *socket
	for i := range 4 {
		s, _ := g.connect(l, uint32(10+i), 1)
		if first == nil {
			first = s
		}
	}
	more := &socket{g: g, key: key{host: 1, guest: 99}}
	more.control(opRequest, 0)
	more.want(opReset)
	readEnd(t, dial(t, d, "CONNECT 5\n"))
	first.control(opShutdown, noMore)
	first.want(opReset)
	more.control(opRequest, 0)
	more.want(opResponse)
	if n := d.Stats().Refused; n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
}

// A guest that writes to programs that never read, closes, and begins anew, holds no more connections than others.
func TestForgottenConnectionsKeepTheirPlace(t *testing.T) {
	d := newDevice(t)
	d.limits.conns = 4
	l := listenHost(t, d, 7)
	g := boot(t, d, allFeatures)
	chunk := strings.Repeat("x", 32<<10)
	for port := uint32(1000); port < 1004; port++ {
		s := &socket{g: g, key: key{host: 7, guest: port}, alloc: window}
		s.control(opRequest, 0)
		s.want(opResponse)
		accept(t, l) // and never read
		for s.credit() >= len(chunk) {
			s.write(chunk)
			for head, n, ok := g.rx.Take(); ok; head, n, ok = g.rx.Take() { // credit, while the host's socket has room
				s.peer = g.unpack(head, n).header
			}
		}
		s.control(opShutdown, noMore)
		for p := g.recv(); p.op != opReset; {
			p = g.recv()
		}
	}
	more := &socket{g: g, key: key{host: 7, guest: 1004}}
	more.control(opRequest, 0)
	more.want(opReset)
	if s := d.Stats(); s.Open != 4 || s.Refused != 1 {
		t.Errorf("%d connections are open and %d refused, want 4 and 1", s.Open, s.Refused)
	}
}

// A guest that takes no packets is not heard beyond what there is room for, and loses none of its answers.
func TestAnswersWaitForBuffers(t *testing.T) {
	d := newDevice(t)
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: allFeatures, Size: 256}), t: t, dev: d}
	g.begin()
	const packets = 2 * maxResets
	for i := range packets {
		h := header{srcCID: guestCID, dstCID: hostCID, srcPort: uint32(i), dstPort: 1, kind: typeStream, op: opData}
		mem := make([]byte, headerSize)
		h.store([][]byte{mem})
		g.tx.Add(g.Out(mem))
	}
	for range maxResets {
		g.tx.Wait()
	}
	for range 1 << 12 {
		runtime.Gosched()
		if _, _, ok := g.tx.Take(); ok {
			t.Fatalf("more than %d packets were taken, though none is answered", maxResets)
		}
	}
	for range 8 {
		g.offer(g.In(headerSize + 1))
	}
	for i := range packets {
		if p := g.recv(); p.op != opReset || p.dstPort != uint32(i) {
			t.Fatalf("answer %d is %v", i, p)
		}
	}
}

// What a guest sent before it was gone reaches a slow reader: it may come while the device has no driver, while it has the next one, or
// when the device is closed.
func TestLastBytesOutliveTheGuest(t *testing.T) {
	fill := func(t *testing.T, g *guest) (*net.UnixConn, string) {
		l := listenHost(t, g.dev, 1)
		defer l.Close()
		s, c := g.connect(l, 2, 1)
		for s.credit() > 0 {
			s.write(string(stream(4, int(s.sent)+min(s.credit(), sendSize))[s.sent:]))
		}
		for len(g.sending) > 0 { // until it has heard all
			head, _, _ := g.tx.Wait()
			g.sent(head)
		}
		return c, string(stream(4, int(s.sent)))
	}
	t.Run("next driver", func(t *testing.T) {
		g := boot(t, newDevice(t), allFeatures)
		c, want := fill(t, g)
		g.Restart()
		read(t, c, want)
		readEnd(t, c)
	})
	t.Run("close", func(t *testing.T) {
		d := newDevice(t)
		d.limits.linger = time.Hour
		c, want := fill(t, boot(t, d, allFeatures))
		var reader sync.WaitGroup
		reader.Go(func() {
			read(t, c, want)
			readEnd(t, c)
		})
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		reader.Wait()
	})
	t.Run("nobody reads", func(t *testing.T) {
		d := newDevice(t)
		d.limits.linger = time.Millisecond
		c, want := fill(t, boot(t, d, allFeatures))
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, c); n == 0 || n >= int64(len(want)) || err != nil {
			t.Errorf("%d bytes, %v; want some of %d", n, err, len(want))
		}
	})
	t.Run("the reader goes", func(t *testing.T) {
		d := newDevice(t)
		d.limits.linger = time.Hour
		c, _ := fill(t, boot(t, d, allFeatures))
		c.Close()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// descriptors counts those of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// waitForGoroutines waits until there are no more than before: one that said it is done may not be gone yet.
func waitForGoroutines(t testing.TB, before int) {
	t.Helper()
	for range 1 << 20 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

// TestThousandConnectionsLeaveNothing opens and ends connections in all ways.
func TestThousandConnectionsLeaveNothing(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, allFeatures)
	l := listenHost(t, d, 1)
	s, c := g.connect(l, 1, 1) // the first of everything is made
	s.control(opShutdown, noMore)
	s.want(opReset)
	c.Close()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for i := range 1000 {
		var s *socket
		var c *net.UnixConn
		if i%2 == 0 {
			s, c = g.connect(l, uint32(i), 1)
		} else {
			c = dial(t, d, "CONNECT 7\n")
			s = g.accept(7)
			line(t, c)
		}
		s.write("hello")
		read(t, c, "hello")
		switch i / 2 % 4 {
		case 0: // the guest closes
			s.control(opShutdown, noMore)
			s.want(opReset)
			readEnd(t, c)
		case 1: // the guest resets
			s.control(opReset, 0)
			readEnd(t, c)
		case 2: // the host closes
			c.Close()
			s.want(opShutdown)
			s.control(opReset, 0)
		case 3: // the guest breaks the protocol
			s.control(opRequest, 0)
			s.want(opReset)
		}
		c.Close()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before %d", n, goroutines)
	}
	for s.g.dev.Stats().Open > 0 {
		runtime.Gosched()
	}
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	if s := d.Stats(); s.Opened != 1001 || s.Violations != 125*2 {
		t.Errorf("Stats = %+v, want 1001 connections and 250 violations", s)
	}
}

// A device leaves nothing behind, whatever it was doing.
func TestCloseLeavesNothing(t *testing.T) {
	once := func(t *testing.T) {
		d := newDevice(t)
		d.limits.linger = 0
		g := boot(t, d, allFeatures)
		l := listenHost(t, d, 1)
		s, c := g.connect(l, 2, 1)
		for range 4 {
			s.write(strings.Repeat("x", sendSize))
		}
		hello, asked := dial(t, d, "CONN"), dial(t, d, "CONNECT 5\n")
		write(t, c, "to nobody")
		g.Stop()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("second Close = %v", err)
		}
		for _, c := range []io.Closer{l, c, hello, asked} {
			c.Close()
		}
	}
	t.Run("first", once) // what Go makes once
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for range 20 {
		t.Run("again", once)
	}
	waitForGoroutines(t, goroutines)
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
}

// A process that has no descriptor left takes clients when it has one again.
func TestOutOfDescriptors(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, allFeatures)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	free, err := unix.Dup(0) // the lowest number that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free) + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
	defer restore()
	c := dial(t, d, "CONNECT 1\n") // takes the last one
	s := &socket{g: g, key: key{host: 1, guest: 2}}
	s.control(opRequest, 0)
	s.want(opReset)
	restore()
	g.accept(1)
	line(t, c)
}

// Nothing is written to guest memory after Stop, and Stop ends whatever goes on.
func TestStopLeavesMemoryAlone(t *testing.T) {
	for range 20 {
		d := newDevice(t)
		g := boot(t, d, allFeatures)
		_, c := g.connect(listenHost(t, d, 1), 2, 1)
		var writer sync.WaitGroup
		writer.Go(func() {
			for {
				if _, err := c.Write(make([]byte, 10000)); err != nil {
					return
				}
			}
		})
		g.recv()
		d.Stop()
		var mem []byte
		for _, bufs := range g.room {
			mem = g.Bytes(bufs[0])
			clear(mem)
		}
		writer.Wait() // the socket is closed
		g.Stop()
		for _, bufs := range g.room {
			for _, b := range g.Bytes(bufs[0]) {
				if b != 0 {
					t.Fatal("bytes were written after Stop")
				}
			}
		}
	}
}

// A driver that breaks a queue ends the connections.
func TestBrokenDriver(t *testing.T) {
	for queue := range 2 {
		g := boot(t, newDevice(t), allFeatures)
		_, c := g.connect(listenHost(t, g.dev, 1), 2, 1)
		g.Queues[queue].SetAvailableIndex(0x8000)
		for { // uses up the buffers, so that the receive queue is looked at
			if _, err := c.Write(make([]byte, 5000)); err != nil {
				break
			}
		}
		if n := len(g.Broken()); n != 1 {
			t.Errorf("queue %d: the device says %d times that the driver broke it, want once", queue, n)
		}
		g.Stop()
	}
}

// TestSteadyStateAllocatesNothing sends a packet each way.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, allFeatures)
	s, c := g.connect(listenHost(t, d, 1), 2, 1)
	raw, err := c.File() // blocking, for plain system calls
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	fd := int(raw.Fd())
	s.alloc = 1 << 30
	h := s.header(opData)
	h.len = 1000
	mem := make([]byte, headerSize+1000)
	h.store([][]byte{mem})
	for len(g.sending) > 0 {
		head, _, _ := g.tx.Wait()
		g.sent(head)
	}
	g.tx.Add(g.Out(mem))
	head, _, _ := g.tx.Wait()
	buf := make([]byte, 2000)
	if n := testing.AllocsPerRun(500, func() {
		g.tx.Again(head, 1)
		for n := 0; n < 1000; {
			k, err := unix.Read(fd, buf)
			if err != nil {
				panic(err)
			}
			n += k
		}
		head, _, _ = g.tx.Wait()
		if _, err := unix.Write(fd, buf[:1000]); err != nil {
			panic(err)
		}
		for n := 0; n < 1000; {
			got, k, _ := g.rx.Wait()
			n += int(k) - headerSize
			g.rx.Again(got, 1)
		}
	}); n != 0 {
		t.Errorf("a packet each way allocates %v times, want 0", n)
	}
}
