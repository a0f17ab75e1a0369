package vsock

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"usui/machine/virtio/virtiotest"
)

// FuzzDriver lets bytes choose what a driver does with its queues. The device must survive and must stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 40, 0, 0, 0, 0, 250, 0, 221, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		d := newDevice(t)
		g := virtiotest.Start(t, d, virtiotest.Config{Features: features["event idx"]})
		virtiotest.Script(g, script)
		g.Stop()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzPackets lets bytes choose packets of a guest and deeds of the host's programs. Afterwards the device still connects.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 0, 5, 1, 1, 100, 0, 0, 4, 1, 1, 3, 0, 0})
	f.Add([]byte{200, 0, 210, 0, 5, 1, 1, 255, 0, 0, 220, 0, 230, 0, 240, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		d := newDevice(t)
		g := boot(t, d, allFeatures)
		h := newHostile(t, d)
		for len(script) >= 6 {
			if op := script[0]; op >= 200 {
				h.act(op, script[1])
				script = script[2:]
				continue
			}
			g.drain()
			g.send(header{
				srcCID: guestCID, dstCID: hostCID, kind: typeStream, op: uint16(script[0] % 9), srcPort: uint32(script[1] % 4), dstPort: hostPort(script[2]),
				flags: uint32(script[3]), len: uint32(script[3]) << (script[4] % 25), bufAlloc: uint32(script[4]) << 8, fwdCnt: uint32(script[5]),
			}, string(make([]byte, min(sendSize, int(script[3])<<(script[5]%9)))))
			script = script[6:]
		}
		h.close()
		good := &socket{g: g, key: key{host: 1, guest: 77}, alloc: 1000}
		good.control(opRequest, 0)
		for p := g.recv(); p.op != opResponse || p.dstPort != 77; p = g.recv() {
		}
	})
}

// hostPort is a port of a program of the host, or the one that a client gets first or second.
func hostPort(b byte) uint32 {
	if b >= 128 {
		return firstPort + uint32(b%2)
	}
	return uint32(b % 3)
}

// drain takes what the device sent, without looking at it, so that it never waits for room.
func (g *guest) drain() {
	for {
		for head, n, ok := g.rx.Take(); ok; head, n, ok = g.rx.Take() {
			g.unpack(head, n)
		}
		for head, _, ok := g.tx.Take(); ok; head, _, ok = g.tx.Take() {
			g.sent(head)
		}
		if len(g.senders) > 0 || len(g.Broken()) > 0 {
			return
		}
		runtime.Gosched()
	}
}

// hostile are programs of the host: one that listens at port 1 and sends everything back, and clients.
type hostile struct {
	t       *testing.T
	d       *Vsock
	l       *net.UnixListener
	clients []*net.UnixConn
	running sync.WaitGroup
	mu      sync.Mutex
	servers []*net.UnixConn // guarded by mu
}

func newHostile(t *testing.T, d *Vsock) *hostile {
	h := &hostile{t: t, d: d, l: listenHost(t, d, 1)}
	h.running.Go(func() { // ended by close
		for {
			c, err := h.l.AcceptUnix()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.servers = append(h.servers, c)
			h.mu.Unlock()
			h.running.Go(func() { _, _ = io.Copy(c, c) }) // ended by close
		}
	})
	h.t.Cleanup(h.close)
	return h
}

func (h *hostile) act(op, arg byte) {
	if op < 215 || len(h.clients) == 0 {
		if len(h.clients) < 20 {
			h.clients = append(h.clients, dial(h.t, h.d, []string{"CONNECT 1\n", "CONNECT 2\nhello", "CONNECT", ""}[arg%4]))
		}
		return
	}
	c := h.clients[int(arg)%len(h.clients)]
	switch op % 4 { // each may fail: the device may have ended the connection
	case 0:
		_, _ = c.Write(make([]byte, int(arg)*10))
	case 1:
		_ = c.CloseWrite()
	case 2:
		_ = c.CloseRead()
	case 3:
		_ = c.Close()
	}
}

// close ends the programs, but for the listener.
func (h *hostile) close() {
	for _, c := range h.clients {
		_ = c.Close()
	}
}
