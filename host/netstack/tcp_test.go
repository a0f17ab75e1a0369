package netstack

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"usui/host/usernet"
)

// closer is what the connections of both stacks can do.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// send writes all and finishes the direction; take reads it to its end.
func send(t testing.TB, c halfCloser, p []byte) {
	if _, err := c.Write(p); err != nil {
		t.Errorf("write: %v", err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Errorf("close for writing: %v", err)
	}
}

func take(t testing.TB, c io.Reader) []byte {
	p, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return p
}

// exchange sends noise both ways at once and compares.
func exchange(t testing.TB, a, b halfCloser, count int) {
	t.Helper()
	var noise, got [2][]byte
	for i := range noise {
		noise[i] = make([]byte, count)
		rand.Read(noise[i])
	}
	var work sync.WaitGroup
	work.Go(func() { send(t, a, noise[0]) })
	work.Go(func() { send(t, b, noise[1]) })
	work.Go(func() { got[0] = take(t, b) })
	work.Go(func() { got[1] = take(t, a) })
	work.Wait()
	for i := range noise {
		if !bytes.Equal(got[i], noise[i]) {
			t.Errorf("direction %d: got %d bytes, SHA-256 %x, want %d, %x", i, len(got[i]), sha256.Sum256(got[i]), count, sha256.Sum256(noise[i]))
		}
	}
	a.Close()
	b.Close()
}

// connectToHost connects the guest with a listener of the host.
func connectToHost(t testing.TB, g *guest, l *net.TCPListener) (inside, outside halfCloser) {
	t.Helper()
	var accepting sync.WaitGroup
	var err error
	var host *net.TCPConn
	accepting.Go(func() { host, err = l.AcceptTCP() })
	in, derr := g.dial(viaGateway(l.Addr()))
	if derr != nil {
		l.Close()
	}
	accepting.Wait()
	if err := errors.Join(derr, err); err != nil {
		t.Fatal(err)
	}
	return in, host
}

func TestTCPFromTheGuest(t *testing.T) {
	for name, tt := range map[string]struct {
		offload bool
		bytes   int
	}{"segments of 64 KiB": {true, 16 << 20}, "no offloads": {false, 2 << 20}} {
		t.Run(name, func(t *testing.T) {
			n, card := network(t, nil)
			g := newGuest(t, card, tt.offload)
			in, out := connectToHost(t, g, hostListen(t))
			exchange(t, in, out, tt.bytes)
			s := n.Stats()
			// Half of all frames may be acknowledgements without data.
			if in, out := s.BytesReceived/s.FramesReceived > 1514, s.BytesSent/s.FramesSent > 1514; in != tt.offload || out != tt.offload {
				t.Errorf("%d bytes in %d frames from the guest, %d in %d to it: segments were longer than the MTU: %v, %v, want %v",
					s.BytesReceived, s.FramesReceived, s.BytesSent, s.FramesSent, in, out, tt.offload)
			}
			if s.FramesRefused != 0 || s.FlowsOpened != 1 {
				t.Errorf("statistics: %+v, want one flow and no refused frame", s)
			}
			await(t, "the flow ends", func() bool { return n.Stats().FlowsOpen == 0 })
		})
	}
}

// publish asks for a free port of the host.
func publish(text string) func(*Config) {
	return func(c *Config) {
		p, err := usernet.ParsePublish(text)
		if err != nil {
			panic(err)
		}
		c.Publish = append(c.Publish, p)
	}
}

func TestPublishedPort(t *testing.T) {
	n, card := network(t, publish("0:80"))
	g := newGuest(t, card, true)
	l := g.listen(80)
	out, err := dialHost(n.Ports()[0])
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := net.SplitHostPort(in.RemoteAddr().String()); got != "10.0.2.2" {
		t.Errorf("the guest sees a connection from %s, want the gateway", got)
	}
	exchange(t, in.(halfCloser), out, 4<<20)
}

func TestPublishedPortThatTheGuestRefuses(t *testing.T) {
	n, card := network(t, publish("0:80"))
	newGuest(t, card, true)
	out, err := dialHost(n.Ports()[0])
	if err == nil { // the reset may come that early
		_, err = out.Read(make([]byte, 1))
		out.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection that the guest refuses: %v, want a reset", err)
	}
}

func TestPublishedPortInUse(t *testing.T) {
	_, far := sockets(t)
	cfg := Config{Config: usernet.Default()}
	cfg.Frames = append(cfg.Frames, far)
	publish(hostListen(t).Addr().String() + ":80")(&cfg)
	if n, err := New(cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("New = %v, %v, want that the address is in use", n, err)
	}
}

// TestHalfClose finishes one direction and goes on in the other.
func TestHalfClose(t *testing.T) {
	_, card := network(t, nil)
	g := newGuest(t, card, true)
	for _, first := range []string{"guest", "host"} {
		in, out := connectToHost(t, g, hostListen(t))
		a, b := in, out
		if first == "host" {
			a, b = out, in
		}
		send(t, a, []byte("question"))
		if got := take(t, b); string(got) != "question" {
			t.Errorf("%s first: got %q", first, got)
		}
		send(t, b, []byte("answer"))
		if got := take(t, a); string(got) != "answer" {
			t.Errorf("%s first: after the end of its own direction got %q, want answer", first, got)
		}
		a.Close()
		b.Close()
	}
}

func TestRefusedPortIsReset(t *testing.T) {
	n, card := network(t, nil)
	g := newGuest(t, card, true)
	l := hostListen(t)
	l.Close()
	if c, err := g.dial(viaGateway(l.Addr())); err == nil || err.(*net.OpError).Err.Error() != "connection was refused" {
		t.Errorf("dial = %v, %v, want that it is refused", c, err)
	}
	await(t, "the attempt is counted", func() bool { return n.Stats().FlowsRefused == 1 })
}

// TestResetIsPassedOn breaks a connection off on each side.
func TestResetIsPassedOn(t *testing.T) {
	_, card := network(t, nil)
	g := newGuest(t, card, true)
	in, out := connectToHost(t, g, hostListen(t))
	reset(out.(*net.TCPConn))
	if _, err := in.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the guest's read = %v, want a reset", err)
	}
	in, out = connectToHost(t, g, hostListen(t))
	if _, err := out.Write([]byte("unread data makes a close a reset")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host's read = %v, want a reset", err)
	}
}

func TestTarget(t *testing.T) {
	for _, tt := range []struct{ words, address, want string }{
		{"", "10.0.2.2", "127.0.0.1"}, {"", "192.0.2.1", "192.0.2.1"},
		{"", "10.0.2.3", ""}, {"", "10.0.2.77", ""}, {"", "127.0.0.1", ""}, {"", "127.8.8.8", ""}, {"", "0.0.0.0", ""}, {"", "0.1.2.3", ""},
		{"", "224.0.0.251", ""}, {"", "240.0.0.1", ""}, {"", "255.255.255.255", ""},
		{"noloopback", "10.0.2.2", ""}, {"noloopback", "192.0.2.1", "192.0.2.1"},
		{"restrict", "10.0.2.2", ""}, {"restrict", "192.0.2.1", ""},
	} {
		n := &Network{cfg: Config{Config: usernet.Default()}}
		if tt.words != "" {
			if err := n.cfg.Set(tt.words); err != nil {
				t.Fatal(err)
			}
		}
		got, ok := n.target(netip.AddrPortFrom(netip.MustParseAddr(tt.address), 80))
		if want := tt.want != ""; ok != want || ok && got.String() != tt.want+":80" {
			t.Errorf("%q: target(%s) = %s, %v, want %q", tt.words, tt.address, got, ok, tt.want)
		}
	}
}

// TestRestrict: a guest that may open nothing is still reached through a published port.
func TestRestrict(t *testing.T) {
	n, card := network(t, func(c *Config) {
		c.Restrict = true
		publish("0:80")(c)
	})
	g := newGuest(t, card, true)
	l := hostListen(t)
	if c, err := g.dial(viaGateway(l.Addr())); err == nil {
		c.Close()
		t.Error("the guest reached the host")
	}
	inside := g.listen(80)
	out, err := dialHost(n.Ports()[0])
	if err != nil {
		t.Fatal(err)
	}
	in, err := inside.Accept()
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, in.(halfCloser), out, 1<<10)
}

// BenchmarkTCP carries data one way; the guest is a second stack of the same kind, so the figures are of both.
func BenchmarkTCP(b *testing.B) {
	for _, fromGuest := range []bool{true, false} {
		name := "to the guest"
		if fromGuest {
			name = "from the guest"
		}
		b.Run(name, func(b *testing.B) {
			n, card := network(b, nil)
			in, out := connectToHost(b, newGuest(b, card, true), hostListen(b))
			from, to := out, in
			if fromGuest {
				from, to = in, out
			}
			p := make([]byte, 1<<20)
			b.SetBytes(int64(len(p)))
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(io.Discard, to) }) // ends with the sender
			for b.Loop() {
				if _, err := from.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n.Stats().FramesDropped), "frames-dropped")
			from.Close()
			reading.Wait()
		})
	}
}
