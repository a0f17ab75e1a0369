package usernet

import (
	"flag"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Config is what a user asks for. [Default] is a good start.
type Config struct {
	Subnet     netip.Prefix // of the guest and its gateway
	MTU        int          // bytes of an IP packet
	Restrict   bool         // the guest can open nothing; published ports work
	NoLoopback bool         // the gateway's address does not lead to the host's loopback
	Publish    []Publish
}

// Publish is a port of the host that leads into the guest.
type Publish struct {
	UDP   bool
	Host  netip.AddrPort
	Guest uint16
}

// maxPublish bounds listeners; each holds a descriptor.
const maxPublish = 128

// Bounds of the MTU: what IPv4 asks of every host (RFC 791), and what fits a frame of 64 KiB.
const (
	minMTU = 576
	maxMTU = 65520
)

// Default is the subnet that QEMU and slirp use, so that guests and habits fit.
func Default() Config {
	return Config{Subnet: netip.MustParsePrefix("10.0.2.0/24"), MTU: 1500}
}

// Addresses of the subnet.
const (
	gatewayHost  = 2
	resolverHost = 3
	guestHost    = 15
)

// Gateway is the host, as the guest sees it.
func (c *Config) Gateway() netip.Addr { return c.host(gatewayHost) }

// Resolver answers DNS.
func (c *Config) Resolver() netip.Addr { return c.host(resolverHost) }

// Guest is the guest's address.
func (c *Config) Guest() netip.Addr { return c.host(guestHost) }

func (c *Config) host(n byte) netip.Addr {
	a := c.Subnet.Masked().Addr().As4()
	a[3] |= n // a subnet of up to /27 has room for all three
	return netip.AddrFrom4(a)
}

// Set reads the words that may follow "user" in --net: subnet=CIDR, mtu=BYTES, restrict and noloopback.
func (c *Config) Set(word string) error {
	name, value, _ := strings.Cut(word, "=")
	var err error
	switch {
	case word == "restrict":
		c.Restrict = true
	case word == "noloopback":
		c.NoLoopback = true
	case name == "subnet":
		if c.Subnet, err = netip.ParsePrefix(value); err != nil {
			return fmt.Errorf("subnet %q: write it like 10.0.2.0/24", value)
		}
	case name == "mtu":
		if c.MTU, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("mtu %q: not a number of bytes", value)
		}
	default:
		return fmt.Errorf("%q is unknown: there are subnet=CIDR, mtu=BYTES, restrict and noloopback", word)
	}
	return c.Check()
}

// Check refuses what makes no sense.
func (c *Config) Check() error {
	switch {
	case !c.Subnet.Addr().Is4() || c.Subnet.Bits() < 8 || c.Subnet.Bits() > 27:
		return fmt.Errorf("subnet %s: must be IPv4, between /8 and /27", c.Subnet)
	case c.Subnet.Addr().IsLoopback() || c.Subnet.Addr().IsMulticast() || c.Subnet.Addr().As4()[0] == 0 || c.Subnet.Addr().As4()[0] >= 240:
		return fmt.Errorf("subnet %s: no addresses that a guest could have", c.Subnet)
	case c.MTU < minMTU || c.MTU > maxMTU:
		return fmt.Errorf("mtu %d: must be %d to %d", c.MTU, minMTU, maxMTU)
	case len(c.Publish) > maxPublish:
		return fmt.Errorf("%d published ports: at most %d", len(c.Publish), maxPublish)
	}
	for i, p := range c.Publish {
		for _, q := range c.Publish[:i] {
			if p.UDP == q.UDP && p.Host == q.Host && p.Host.Port() != 0 {
				return fmt.Errorf("published port %s: given twice", p.Host)
			}
		}
	}
	return nil
}

// ParsePublish reads [ADDR:]HOST:GUEST[/udp]. Without an address it is the host's loopback; one of IPv6 stands in brackets. Port 0 of
// the host is any free one.
func ParsePublish(text string) (Publish, error) {
	wrong := fmt.Errorf("%q: write [ADDRESS:]HOST-PORT:GUEST-PORT[/udp], as in 8080:80", text)
	rest, protocol, given := strings.Cut(text, "/")
	if given && protocol != "udp" && protocol != "tcp" {
		return Publish{}, wrong
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return Publish{}, wrong
	}
	guest, err := strconv.ParseUint(rest[i+1:], 10, 16)
	if err != nil || guest == 0 {
		return Publish{}, wrong
	}
	host := rest[:i]
	if !strings.Contains(host, ":") {
		host = "127.0.0.1:" + host
	}
	at, err := netip.ParseAddrPort(host)
	if err != nil {
		return Publish{}, wrong
	}
	return Publish{UDP: protocol == "udp", Host: at, Guest: uint16(guest)}, nil
}

// String is what ParsePublish reads.
func (p Publish) String() string {
	text := fmt.Sprintf("%s:%d", p.Host, p.Guest)
	if p.UDP {
		text += "/udp"
	}
	return text
}

// Words are the configuration without its ports as Set reads it, one word for each thing that is not the default.
func (c *Config) Words() (words []string) {
	usual := Default()
	if c.Subnet != usual.Subnet {
		words = append(words, "subnet="+c.Subnet.String())
	}
	if c.MTU != usual.MTU {
		words = append(words, "mtu="+strconv.Itoa(c.MTU))
	}
	if c.Restrict {
		words = append(words, "restrict")
	}
	if c.NoLoopback {
		words = append(words, "noloopback")
	}
	return words
}

// Flags declares the flags that usui-net is called with.
func (c *Config) Flags(f *flag.FlagSet) {
	f.Func("set", "one `word` of --net user, such as restrict", c.Set)
	f.Func("publish", "listen on a `port` of the host for the guest", func(text string) error {
		p, err := ParsePublish(text)
		c.Publish = append(c.Publish, p)
		return err
	})
}

// args is the configuration for Flags.
func (c *Config) args() (args []string) {
	for _, w := range c.Words() {
		args = append(args, "--set", w)
	}
	for _, p := range c.Publish {
		args = append(args, "--publish", p.String())
	}
	return args
}
