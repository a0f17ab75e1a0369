package pid1

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// configureCard finds the network card with that hardware address among the interfaces in class, a folder such as /sys/class/net, and
// gives it an address in the form of 10.0.2.15/24, with a gateway to everywhere else unless that is empty.
func configureCard(class, card, address, gateway string) error {
	host, bits, ok := strings.Cut(address, "/")
	own, err := parseIPv4(host)
	length, lengthErr := strconv.ParseUint(bits, 10, 8)
	if !ok || err != nil || lengthErr != nil || length > 32 {
		return fmt.Errorf("%q is no IPv4 address with the length of its network", address)
	}
	var router []byte
	if gateway != "" {
		if router, err = parseIPv4(gateway); err != nil {
			return err
		}
	}
	name := ""
	err = waitFor(portTimeout, func() (bool, error) {
		name = findCard(class, card)
		return name != "", nil
	})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(class, name, "ifindex"))
	if err != nil {
		return err
	}
	index, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return fmt.Errorf("index of %s: %w", name, err)
	}
	return setAddress(uint32(index), own, byte(length), router)
}

// parseIPv4 reads 10.0.2.15. Package net/netip would make the initramfs of every guest a tenth of a megabyte larger.
func parseIPv4(text string) (address []byte, err error) {
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%q is no IPv4 address", text)
		}
		address = append(address, byte(n))
	}
	if len(address) != 4 {
		return nil, fmt.Errorf("%q is no IPv4 address", text)
	}
	return address, nil
}

// findCard returns the name of the interface with that hardware address, or "".
func findCard(class, card string) string {
	files, err := filepath.Glob(filepath.Join(class, "*", "address"))
	if err != nil {
		return ""
	}
	for _, file := range files {
		// A card that goes away has none.
		if text, err := os.ReadFile(file); err == nil && strings.EqualFold(strings.TrimSpace(string(text)), card) {
			return filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// setAddress does what these commands do, by the requests of rtnetlink(7) that they make:
//
//	ip address add ADDRESS/BITS dev CARD; ip link set CARD up; ip route add default via ROUTER
func setAddress(index uint32, address []byte, bits byte, router []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	native := binary.NativeEndian

	ifaddrmsg := append([]byte{unix.AF_INET, bits, 0, unix.RT_SCOPE_UNIVERSE}, native.AppendUint32(nil, index)...)
	ifaddrmsg = attribute(attribute(ifaddrmsg, unix.IFA_LOCAL, address), unix.IFA_ADDRESS, address)

	ifinfomsg := native.AppendUint32(make([]byte, 4), index)
	ifinfomsg = native.AppendUint32(native.AppendUint32(ifinfomsg, unix.IFF_UP), unix.IFF_UP) // the flags, and which of them count

	rtmsg := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	rtmsg = attribute(attribute(rtmsg, unix.RTA_GATEWAY, router), unix.RTA_OIF, native.AppendUint32(nil, index))

	for _, r := range []struct {
		what    string
		kind    uint16
		flags   uint16
		message []byte
	}{
		{"set the address", unix.RTM_NEWADDR, unix.NLM_F_CREATE | unix.NLM_F_REPLACE, ifaddrmsg},
		{"set the link up", unix.RTM_NEWLINK, 0, ifinfomsg},
		{"route to the gateway", unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_REPLACE, rtmsg},
	} {
		if r.kind == unix.RTM_NEWROUTE && router == nil {
			continue
		}
		if err := request(fd, r.kind, r.flags, r.message); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return nil
}

// attribute appends an attribute of 4, 8, ... bytes, for which no padding is needed.
func attribute(message []byte, kind uint16, value []byte) []byte {
	message = binary.NativeEndian.AppendUint16(message, uint16(unix.SizeofRtAttr+len(value)))
	return append(binary.NativeEndian.AppendUint16(message, kind), value...)
}

// request makes one request of netlink(7) and waits for its acknowledgement.
func request(fd int, kind, flags uint16, message []byte) error {
	native := binary.NativeEndian
	m := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(message)))
	m = native.AppendUint16(native.AppendUint16(m, kind), flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = append(append(m, make([]byte, 8)...), message...) // sequence number and port are for those who have several
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr+4 || native.Uint16(answer[4:6]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: an answer of %d bytes and kind %d", n, native.Uint16(answer[4:6]))
	}
	if code := int32(native.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
