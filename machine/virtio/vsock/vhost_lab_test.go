package vsock

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/virtio/virtiotest"
)

// take waits for the next used entry. The kernel has no interrupt of virtiotest's to signal.
func take(t *testing.T, q *virtiotest.Queue) (head uint16, n uint32) {
	t.Helper()
	for {
		if head, n, ok := q.Take(); ok {
			return head, n
		}
		runtime.Gosched()
	}
}

// TestLabVhost has the kernel serve a driver of ours, over a restart.
func TestLabVhost(t *testing.T) {
	need.VhostVsock(t)
	d, err := NewVhost(guestCID)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := NewVhost(guestCID); err == nil || !strings.Contains(err.Error(), "another machine of this host has it") {
		t.Errorf("a second device with the same CID: %v", err)
	}
	g := virtiotest.Start(t, d, virtiotest.Config{Size: 128})
	for range 3 {
		echoThroughKernel(t, g)
		g.Restart()
	}
	g.Stop()
	if err := d.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// echoThroughKernel lets a program of the host connect to the guest's port 52, and sends what it says back.
func echoThroughKernel(t *testing.T, g *virtiotest.Driver) {
	t.Helper()
	rx, tx := g.Queues[0], g.Queues[1]
	in := map[uint16]virtiotest.Buffer{}
	for range 8 {
		b := g.In(headerSize + 4096)
		in[rx.Add(b)] = b
	}
	host := hostSocket(t, 52)
	sent := false
	for {
		head, n := take(t, rx)
		mem := g.Bytes(in[head])[:n]
		var p header
		if !p.parse([][]byte{mem}) || p.srcCID != hostCID || p.dstCID != guestCID || p.dstPort != 52 {
			t.Fatalf("packet of %d bytes: %v", n, packet{header: p})
		}
		answer := header{srcCID: guestCID, dstCID: hostCID, srcPort: 52, dstPort: p.srcPort, kind: typeStream, bufAlloc: 1 << 16}
		switch p.op {
		case opRequest:
			answer.op = opResponse
		case opData:
			answer.op, answer.len, answer.fwdCnt = opData, p.len, p.len
		default:
			continue
		}
		out := make([]byte, headerSize+int(answer.len))
		answer.store([][]byte{out})
		copy(out[headerSize:], mem[headerSize:])
		tx.Add(g.Out(out))
		take(t, tx)
		if p.op == opData {
			break
		}
		if !sent {
			sent = true
			if _, err := host.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(host, b); err != nil || string(b) != "hello" {
		t.Errorf("the host read %q, %v", b, err)
	}
	g.Stop()
	if n, err := host.Read(b); n != 0 || err == nil {
		t.Errorf("after the device stopped the host read %d bytes, %v; want the end or a reset", n, err)
	}
	host.Close()
}

// hostSocket begins to connect to a port of the guest.
func hostSocket(t *testing.T, port uint32) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: guestCID, Port: port}); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "vsock")
	t.Cleanup(func() { f.Close() })
	return f
}

// A driver that breaks the protocol is heard of.
func TestLabVhostTellsOfFaults(t *testing.T) {
	need.VhostVsock(t)
	d, err := NewVhost(guestCID)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	g := virtiotest.Start(t, d, virtiotest.Config{Size: 128})
	g.Queues[1].SetAvailableIndex(0x8000)
	for len(g.Broken()) == 0 {
		runtime.Gosched()
	}
	g.Stop()
}
