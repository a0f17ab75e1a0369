package netstack

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

// resolvConf is where a host names its resolvers, resolv.conf(5).
const resolvConf = "/etc/resolv.conf"

// maxResolvers is as many as the C library asks.
const maxResolvers = 3

// resolvers are whom to ask now: a host that moves to another network gets others.
func (n *Network) resolvers() []netip.AddrPort {
	if n.cfg.Resolvers != nil {
		return n.cfg.Resolvers
	}
	f, err := os.Open(resolvConf)
	if err != nil {
		return parseResolvConf(strings.NewReader(""))
	}
	defer f.Close()
	return parseResolvConf(f)
}

// parseResolvConf reads the servers in a resolv.conf. Without one it is this host, as for the C library.
func parseResolvConf(r io.Reader) (list []netip.AddrPort) {
	lines := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for lines.Scan() && len(list) < maxResolvers {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	if list == nil {
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	return list
}
