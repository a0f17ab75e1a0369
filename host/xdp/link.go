package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// linkInfo is what an interface is.
type linkInfo struct {
	index, mtu, queues int
	mac                [6]byte
	driver             string
}

func readLink(name string) (l linkInfo, err error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return l, os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	index, err := ask(socket, name, unix.SIOCGIFINDEX)
	if err != nil {
		return l, err
	}
	mtu, err := ask(socket, name, unix.SIOCGIFMTU)
	if err != nil {
		return l, err
	}
	flags, err := ask(socket, name, unix.SIOCGIFFLAGS)
	if err != nil {
		return l, err
	}
	if flags.Uint16()&unix.IFF_UP == 0 {
		return l, fmt.Errorf("the link is down: ip link set %s up", name)
	}
	l.index, l.mtu = int(index.Uint32()), int(mtu.Uint32())
	if l.mac, err = hardwareAddress(socket, name); err != nil {
		return l, err
	}
	if d, err := unix.IoctlGetEthtoolDrvinfo(socket, name); err == nil { // an interface without a driver of a name is served like any
		l.driver = string(bytes.TrimRight(d.Driver[:], "\x00"))
	}
	l.queues = receiveQueues(socket, name)
	return l, nil
}

// ask is an ioctl of netdevice(7).
func ask(socket int, name string, what uint) (*unix.Ifreq, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(socket, what, r); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil, errors.New("there is no such interface")
		}
		return nil, os.NewSyscallError("ioctl", err)
	}
	return r, nil
}

// Address returns the first IPv4 address that the kernel has on an interface.
func Address(name string) (netip.Addr, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	r, err := ask(socket, name, unix.SIOCGIFADDR)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s has no IPv4 address: %v", name, err)
	}
	a, err := r.Inet4Addr()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %v", name, err)
	}
	return netip.AddrFrom4([4]byte(a)), nil
}
