package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The one network of the benchmark (RFC 5737, TEST-NET-1).
var (
	hostAddr  = netip.MustParseAddr("192.0.2.1")
	guestAddr = netip.MustParseAddr("192.0.2.2")
)

const (
	netPort     = 7777
	prefixBits  = 24
	requestSize = 64 // bytes of a request and of its answer
)

// A connection begins with a header: what to do, and how much of it.
const (
	opSink   = 's' // the guest reads so many bytes and answers one
	opSource = 'g' // the guest sends so many bytes
	opEcho   = 'e' // the guest answers so many requests

	netHeader = 9
)

// serveNet brings up the card and serves loads until the machine is ended.
func serveNet() error {
	if err := insertModules(); err != nil {
		return err
	}
	name, err := card()
	if err != nil {
		return err
	}
	if err := bringUp(name, guestAddr); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(guestAddr, netPort)))
	if err != nil {
		return err
	}
	say(lineReady + name)
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		if err := serveNetLoad(c); err != nil {
			say(lineError + err.Error())
		}
	}
}

// card is the one network card.
func card() (string, error) {
	list, err := filepath.Glob("/sys/class/net/*/device")
	if err != nil || len(list) != 1 {
		return "", fmt.Errorf("find the network card: %d there (%v)", len(list), err)
	}
	return filepath.Base(filepath.Dir(list[0])), nil
}

// bringUp gives an interface its address (netdevice(7)).
func bringUp(name string, addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	mask := net.CIDRMask(prefixBits, 32)
	for _, set := range []struct {
		call  uint
		value []byte
	}{{unix.SIOCSIFADDR, addr.AsSlice()}, {unix.SIOCSIFNETMASK, mask}} {
		if err := r.SetInet4Addr(set.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.call, r); err != nil {
			return fmt.Errorf("address of %s: %w", name, err)
		}
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// serveNetLoad does what one connection asks for.
func serveNetLoad(c *net.TCPConn) error {
	defer c.Close()
	var header [netHeader]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint64(header[1:]))
	buf := make([]byte, 128<<10)
	switch header[0] {
	case opSink:
		for left := n; left > 0; {
			m, err := c.Read(buf[:min(int64(len(buf)), left)])
			if err != nil {
				return err
			}
			left -= int64(m)
		}
		_, err := c.Write(buf[:1])
		return err
	case opSource:
		return writeBytes(c, buf, n)
	case opEcho:
		for range n {
			if _, err := io.ReadFull(c, buf[:requestSize]); err != nil {
				return err
			}
			if _, err := c.Write(buf[:requestSize]); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("a load that is unknown")
}

// writeBytes sends n bytes of no meaning.
func writeBytes(w io.Writer, buf []byte, n int64) error {
	for n > 0 {
		m, err := w.Write(buf[:min(int64(len(buf)), n)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}
