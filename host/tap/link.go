package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const device = "/dev/net/tun"

// Limits of an MTU: the kernel's ETH_MIN_MTU, and what fits a tap.
const (
	MinMTU = 68
	MaxMTU = 65521
)

// MTU is the largest packet that fits a frame.
func (t *Tap) MTU() (int, error) {
	request, err := link(t.name, unix.SIOCGIFMTU, 0)
	if err != nil {
		return 0, fmt.Errorf("tap %s: read the MTU: %w", t.name, err)
	}
	return int(request.Uint32()), nil
}

// SetMTU changes it. To change it takes CAP_NET_ADMIN; to ask for what it is does not.
func (t *Tap) SetMTU(n int) error {
	if now, err := t.MTU(); err == nil && now == n {
		return nil
	}
	_, err := link(t.name, unix.SIOCSIFMTU, uint32(n))
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tap %s: set the MTU to %d: %w; as root, ip link set %s mtu %d does it", t.name, n, err, t.name, n)
	case err != nil:
		return fmt.Errorf("tap %s: set the MTU to %d: %w", t.name, n, err)
	}
	return nil
}

// up sets the link up, if it is not.
func (t *Tap) up() error {
	request, err := link(t.name, unix.SIOCGIFFLAGS, 0)
	if err != nil {
		return fmt.Errorf("tap %s: read the link's state: %w", t.name, err)
	}
	flags := request.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	_, err = link(t.name, unix.SIOCSIFFLAGS, uint32(flags|unix.IFF_UP))
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tap %s: the link is down and to set it up takes root: ip link set %s up", t.name, t.name)
	case err != nil:
		return fmt.Errorf("tap %s: set the link up: %w", t.name, err)
	}
	return nil
}

// link asks for or changes a property of an interface (netdevice(7)). A value of 16 bits lies in the lower half of value.
func link(name string, what uint, value uint32) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint32(value)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	return request, unix.IoctlIfreq(socket, what, request)
}

// CheckName refuses what no interface can be called.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of an interface is missing")
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("interface %q: a name has at most %d bytes", name, unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/:% \t\n\v\f\r\x00"):
		return fmt.Errorf("interface %q: a name has no spaces, slashes, colons or percent signs", name)
	}
	return nil
}

// Exists refuses the name of an interface that is not there.
func Exists(name string) error {
	_, err := link(name, unix.SIOCGIFFLAGS, 0)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("tap %s: there is no such interface; as root, ip tuntap add dev %s mode tap user %d makes it", name, name, os.Getuid())
	case err != nil:
		return fmt.Errorf("tap %s: %w", name, err)
	}
	return nil
}

// explain says why an interface cannot be had, and what to do.
func (t *Tap) explain(err error, made bool) error {
	subject := "tap " + t.name
	if made {
		subject = "make a tap"
	}
	advice := ""
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		advice = "the kernel's tun driver is not there: modprobe tun"
	case errors.Is(err, unix.EACCES):
		advice = "as root, chmod 666 " + device + " gives it to all users, as most systems have it; who is no root still uses only taps that are his"
	case errors.Is(err, unix.EPERM) && made:
		advice = fmt.Sprintf("this takes root (CAP_NET_ADMIN); or let root make one for you, ip tuntap add dev tap0 mode tap user %d, and use it by its name", os.Getuid())
	case errors.Is(err, unix.EPERM):
		advice = fmt.Sprintf("it belongs to another user; as root, ip tuntap add dev %s mode tap user %d makes one that is yours", t.name, os.Getuid())
	case errors.Is(err, unix.EBUSY):
		advice = "another program uses it; each card needs a tap of its own"
	case errors.Is(err, unix.EINVAL) && !made:
		advice = t.mismatch()
	case errors.Is(err, unix.E2BIG):
		advice = "other programs hold so many of its queues that not enough are left"
	}
	if advice == "" {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return fmt.Errorf("%s: %w; %s", subject, err, advice)
}

// mismatch says why an interface that is there is not what was asked for.
func (t *Tap) mismatch() string {
	if len(t.off) > 1 {
		return fmt.Sprintf("it is no tap, or one with a single queue: ip tuntap add dev %s mode tap multi_queue makes one with several", t.name)
	}
	return fmt.Sprintf("it is no tap; ip tuntap add dev %s mode tap makes one of a name that is not taken", t.name)
}
