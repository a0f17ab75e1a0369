package vsock

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// newPing is a connection whose packets take no allocation, and the head of a chain of 64 bytes for the host.
func newPing(b *testing.B) (g *guest, fd int, head uint16, chain []byte) {
	b.Helper()
	g = boot(b, newDevice(b), allFeatures)
	s, c := g.connect(listenHost(b, g.dev, 1), 2, 1)
	raw, err := c.File()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { raw.Close() })
	s.alloc = 1 << 31
	h := s.header(opData)
	h.len = 64
	mem := make([]byte, headerSize+64)
	h.store([][]byte{mem})
	for len(g.sending) > 0 {
		head, _, _ := g.tx.Wait()
		g.sent(head)
	}
	buf := g.Out(mem)
	g.tx.Add(buf)
	head, _, _ = g.tx.Wait()
	return g, int(raw.Fd()), head, g.Bytes(buf)
}

// BenchmarkPingPong is a packet of 64 bytes to the host, which sends it back.
func BenchmarkPingPong(b *testing.B) {
	g, fd, head, _ := newPing(b)
	go func() { // ends with the socket
		buf := make([]byte, 64)
		for n, err := unix.Read(fd, buf); n > 0 && err == nil; n, err = unix.Read(fd, buf) {
			if _, err := unix.Write(fd, buf[:n]); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		g.tx.Again(head, 1)
		for n := 0; n < 64; {
			got, k, _ := g.rx.Wait()
			n += int(k) - headerSize
			g.rx.Again(got, 1)
		}
		head, _, _ = g.tx.Wait()
	}
	unix.Shutdown(fd, unix.SHUT_RDWR)
}

// BenchmarkToGuest is 1 MiB from the host, in buffers of 4 KiB.
func BenchmarkToGuest(b *testing.B) {
	const size = 1 << 20
	g, fd, head, chain := newPing(b)
	go func() { // ends with the socket
		buf := make([]byte, 64<<10)
		for {
			if _, err := unix.Write(fd, buf); err != nil {
				return
			}
		}
	}()
	var h header
	h.parse([][]byte{chain})
	h.op, h.len = opCreditUpdate, 0
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		for n := 0; n < size; {
			got, k, _ := g.rx.Wait()
			n += int(k) - headerSize
			h.fwdCnt += k - headerSize
			g.rx.Again(got, 1)
		}
		h.store([][]byte{chain})
		g.tx.Again(head, 1)
		head, _, _ = g.tx.Wait()
	}
	unix.Shutdown(fd, unix.SHUT_RDWR)
}

// BenchmarkToHost is 1 MiB from the guest, in packets of 64 KiB.
func BenchmarkToHost(b *testing.B) {
	g := boot(b, newDevice(b), allFeatures)
	s, c := g.connect(listenHost(b, g.dev, 1), 2, 1)
	go func() { // ends with the socket
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}()
	b.SetBytes(1 << 20)
	data := string(make([]byte, sendSize))
	for b.Loop() {
		for range 16 {
			for s.credit() < sendSize {
				s.want(opCreditUpdate)
			}
			s.write(data)
		}
	}
}
