package xdp

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreqAddress is struct ifreq with an address of some hardware.
type ifreqAddress struct {
	name   [unix.IFNAMSIZ]byte
	family uint16
	data   [22]byte
}

// hardwareAddress asks for an interface's Ethernet address.
func hardwareAddress(socket int, name string) (mac [6]byte, err error) {
	var r ifreqAddress
	copy(r.name[:unix.IFNAMSIZ-1], name)
	// SAFETY: r is as long as struct ifreq and lives until the call returns.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCGIFHWADDR, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return mac, os.NewSyscallError("ioctl", errno)
	}
	if r.family != unix.ARPHRD_ETHER {
		return mac, fmt.Errorf("hardware of type %d, want Ethernet", r.family)
	}
	return [6]byte(r.data[:6]), nil
}
