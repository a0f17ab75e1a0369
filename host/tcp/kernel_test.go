package tcp

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/xdp"
	"usui/host/xdp/xdptest"
)

// bypass serves a mirror on an interface until the test ends.
func bypass(t *testing.T, e *xdptest.End, own bool, address string) (stats func() Stats) {
	t.Helper()
	const frames = 8192
	memory, err := unix.Mmap(-1, 0, frames*frameBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr(address)
	var x *xdp.Interface
	e.Do(func() {
		x, err = xdp.Open(xdp.Config{Name: e.Name, Memory: memory, FrameBytes: frameBytes, Filter: xdp.Filter{Address: at, Port: ourPort, Own: own}})
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Link: x, MAC: x.MAC(), Address: at, Port: ourPort, MTU: x.MTU(), Own: own, Unsummed: x.Unsummed(), Connections: 512, Frames: 4096})
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	m := &mirror{s: s, conns: map[*Conn][]byte{}}
	done := make(chan error, 1)
	go func() { done <- serve(x, s, m, pipe[0]) }() // ends when the pipe is closed
	var last Stats
	var once sync.Once
	stats = func() Stats {
		once.Do(func() {
			unix.Close(pipe[1])
			if err := <-done; err != nil {
				t.Error(err)
			}
			unix.Close(pipe[0])
			last = s.Stats()
			s.Close()
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			unix.Munmap(memory)
		})
		return last
	}
	t.Cleanup(func() { stats() })
	return stats
}

// serve is the loop of a server.
func serve(x *xdp.Interface, s *Stack, m *mirror, stop int) error {
	start := time.Now()
	polls := []unix.PollFd{{Fd: int32(stop), Events: unix.POLLIN}, {Fd: int32(x.Descriptors()[0]), Events: unix.POLLIN}}
	for {
		wait := -1
		if at, ok := s.Next(); ok {
			wait = max(0, int((at-time.Since(start)+time.Millisecond-1)/time.Millisecond))
		}
		if _, err := unix.Poll(polls, wait); err != nil && err != unix.EINTR {
			return err
		}
		if polls[0].Revents != 0 {
			return nil
		}
		s.Advance(time.Since(start))
		if _, err := x.Receive(s.Receive); err != nil {
			return err
		}
		m.turn()
		if err := x.Flush(); err != nil {
			return err
		}
	}
}

// echo sends n bytes by a connection, ends, and compares what comes back.
func echo(c net.Conn, seed uint64, n int) (same bool, err error) {
	defer c.Close()
	out := noise(rand.New(rand.NewPCG(seed, 3)), n)
	var sending error
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, sending = c.Write(out); sending == nil {
			sending = c.(interface{ CloseWrite() error }).CloseWrite()
		}
	})
	in, err := io.ReadAll(c)
	wait.Wait()
	if err == nil {
		err = sending
	}
	return bytes.Equal(in, out), err
}

func TestTheKernelIsAPeer(t *testing.T) {
	for _, own := range []bool{false, true} {
		near, far := xdptest.Cable(t)
		address := near.Address
		if own {
			address = "10.9.0.77"
		}
		stats := bypass(t, near, own, address)
		var wait sync.WaitGroup
		for i := range 20 {
			var c net.Conn
			var err error
			far.Do(func() { c, err = net.Dial("tcp4", address+":6379") })
			if err != nil {
				t.Fatalf("own %v: %v", own, err)
			}
			n := []int{0, 1, 1000, 1 << 20}[i%4]
			wait.Go(func() {
				if same, err := echo(c, uint64(i), n); err != nil || !same {
					t.Errorf("own %v: %d bytes came back the same: %v, %v", own, n, same, err)
				}
			})
		}
		wait.Wait()
		st := stats()
		if st.BadChecksums+st.Malformed > 0 || st.Accepted != 20 || st.Broken > 0 {
			t.Errorf("own %v: %+v", own, st)
		}
	}
}

func TestAnOwnAddressAnswersPing(t *testing.T) {
	near, far := xdptest.Cable(t)
	bypass(t, near, true, "10.9.0.77")
	var c net.Conn
	var err error
	far.Do(func() { c, err = net.Dial("ip4:icmp", "10.9.0.77") })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := append([]byte{8, 0, 0, 0, 1, 2, 3, 4}, "how are you"...)
	binary.BigEndian.PutUint16(request[2:], ^slowSum(request))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil || n != ipBytes+len(request) || b[ipBytes] != 0 || !bytes.Equal(b[ipBytes+4:n], request[4:]) {
		t.Errorf("answer % x, %v", b[:max(n, 0)], err)
	}
}

func TestClosedPortsOfTheKernelStay(t *testing.T) {
	near, far := xdptest.Cable(t)
	bypass(t, near, false, near.Address)
	var err error
	far.Do(func() { _, err = net.Dial("tcp4", near.Address+":6380") })
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port of the kernel's that nobody serves: %v, want it refused by the kernel", err)
	}
}
