package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	gonet "net"
	"strconv"
	"strings"

	"usui/host/tap"
	"usui/host/usernet"
	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/virtio/net"
	"usui/machine/vmm"
)

// netPart are a machine's network cards.
type netPart struct {
	list    []netCard
	publish []usernet.Publish // of the card with user networking
}

// netCard is one --net.
type netCard struct {
	kind   string // what it is plugged into: tap or user
	name   string // of the interface; empty: one is made
	user   *usernet.Config
	mac    [6]byte
	mtu    int // 0: the interface's
	queues int
	vhost  bool
}

// maxCards is how many a user can want.
const maxCards = 8

func (p *netPart) flags(f *flag.FlagSet) {
	p.userFlags(f)
	f.Func("net", "plug in the network `card` user[,...], a network that needs no privilege, or tap[=NAME][,mac=MAC][,mtu=BYTES][,queues=N][,vhost]: into the host's tap of that name, or into one that is made and goes away at the end, and with vhost the host's kernel moves the frames; without mac it has another address each time; may be repeated", func(text string) error {
		c, err := parseNet(text)
		p.list = append(p.list, c)
		return err
	})
}

// parseNet parses the value of --net.
func parseNet(text string) (netCard, error) {
	words := strings.Split(text, ",")
	c := netCard{queues: 1}
	c.kind, c.name, _ = strings.Cut(words[0], "=")
	switch c.kind {
	case "tap":
		if strings.HasPrefix(words[0], "tap=") {
			if err := tap.CheckName(c.name); err != nil {
				return c, err
			}
		}
	case "user":
		if words[0] != "user" {
			return c, fmt.Errorf("%q: user networking has no name: write user", text)
		}
		usual := usernet.Default()
		c.user = &usual
	default:
		return c, fmt.Errorf("%q: a card is plugged into a network of usui's own or a tap: write user, tap or tap=NAME", text)
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		if seen[name] {
			return c, fmt.Errorf("%s is given twice", name)
		}
		seen[name] = true
		if c.user != nil && name != "mac" && name != "queues" {
			if err := c.user.Set(word); err != nil {
				return c, err
			}
			continue
		}
		if err := c.set(name, value); err != nil {
			return c, err
		}
	}
	return c, nil
}

// set follows one NAME=VALUE.
func (c *netCard) set(name, value string) (err error) {
	switch name {
	case "mac":
		mac, err := gonet.ParseMAC(value)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 || [6]byte(mac) == [6]byte{} {
			return fmt.Errorf("mac=%s: write the address of one card, such as 02:00:00:00:00:01", value)
		}
		c.mac = [6]byte(mac)
	case "mtu":
		if c.mtu, err = strconv.Atoi(value); err != nil || c.mtu < tap.MinMTU || c.mtu > tap.MaxMTU {
			return fmt.Errorf("mtu=%s: want %d to %d", value, tap.MinMTU, tap.MaxMTU)
		}
	case "queues":
		if c.queues, err = strconv.Atoi(value); err != nil || c.queues < 1 || c.queues > net.MaxPairs {
			return fmt.Errorf("queues=%s: want 1 to %d", value, net.MaxPairs)
		}
	case "vhost":
		if value != "" || c.user != nil {
			return fmt.Errorf("vhost: it has no value, and is for taps")
		}
		c.vhost = true
	default:
		return fmt.Errorf("%q: a tap takes mac=, mtu=, queues= and vhost", name)
	}
	return nil
}

// String is what parseNet understands.
func (c netCard) String() string {
	text := c.kind
	if c.name != "" {
		text += "=" + c.name
	}
	if c.user != nil {
		text = strings.Join(append([]string{text}, c.user.Words()...), ",")
	}
	if c.mac != [6]byte{} {
		text += ",mac=" + gonet.HardwareAddr(c.mac[:]).String()
	}
	if c.mtu != 0 {
		text += ",mtu=" + strconv.Itoa(c.mtu)
	}
	if c.queues != 1 {
		text += ",queues=" + strconv.Itoa(c.queues)
	}
	if c.vhost {
		text += ",vhost"
	}
	return text
}

func (p *netPart) check() error {
	if len(p.list) > maxCards {
		return cli.UsageError("%d network cards: a machine has at most %d", len(p.list), maxCards)
	}
	for i, c := range p.list {
		for _, other := range p.list[:i] {
			if c.name != "" && c.name == other.name {
				return cli.UsageError("--net %s: another card has that tap already; each needs its own", c)
			}
			if c.mac != [6]byte{} && c.mac == other.mac {
				return cli.UsageError("--net %s: another card has that address already", c)
			}
		}
	}
	return p.checkUser()
}

func (p *netPart) checkHost() error {
	for _, c := range p.list {
		if c.user != nil {
			if _, err := usernet.FindProgram(); err != nil {
				return fmt.Errorf("--net %s: %w", c, err)
			}
		}
		if c.name == "" {
			continue
		}
		if err := tap.Exists(c.name); err != nil {
			return fmt.Errorf("--net: %w", err)
		}
	}
	return nil
}

func (p *netPart) argv() (argv []string) {
	for _, c := range p.list {
		argv = append(argv, "--net", c.String())
	}
	for _, port := range p.publish {
		argv = append(argv, "--publish", port.String())
	}
	return argv
}

// prepareLab refuses what a lab has no way to; a tap that is to be made is made inside, and user networking is inside.
func (p *netPart) prepareLab(cfg *lab.Config) error {
	p.warnOfLab(cfg.Progress)
	for _, c := range p.list {
		if c.name != "" {
			return fmt.Errorf("--net %s: the machine would run inside the lab, which cannot reach interfaces of this host; --net tap makes one inside, and with --no-lab usui says why the machine cannot run here", c)
		}
	}
	return nil
}

func (p *netPart) build(_ context.Context, b *builder) error {
	for _, c := range p.list {
		build := c.build
		if c.user != nil {
			build = func(b *builder) error { return c.buildUser(b, p.publish) }
		}
		if err := build(b); err != nil {
			return fmt.Errorf("--net %s: %w", c, err)
		}
	}
	return nil
}

func (c netCard) build(b *builder) error {
	cable, err := c.open()
	if err != nil {
		return err
	}
	b.res.add(cable)
	mtu := c.mtu
	if mtu != 0 {
		err = cable.SetMTU(mtu)
	} else {
		mtu, err = cable.MTU()
	}
	if err != nil {
		return err
	}
	if c.mac == [6]byte{} {
		c.mac = randomMAC()
	}
	card, err := net.New(net.Config{Name: cable.Name(), Backend: net.NewTap(cable), MAC: c.mac, MTU: mtu, Vhost: c.vhost, Log: b.cfg.Log})
	if err != nil {
		return err
	}
	b.add(vmm.Virtio{Name: "net " + cable.Name(), Device: card})
	b.count("net", cable.Name(), func() any { return card.Stats() })
	plugged := event{Event: "net", Interface: cable.Name(), MAC: gonet.HardwareAddr(c.mac[:]).String()}
	plugged.Detail = fmt.Sprintf("a network card with address %s is plugged into the tap %s", plugged.MAC, plugged.Interface)
	if c.name == "" {
		plugged.Detail += ", which goes away with the machine"
	}
	b.ev.tell(plugged)
	return nil
}

// open opens the tap, or makes it.
func (c netCard) open() (*tap.Tap, error) {
	if c.name == "" {
		return tap.Make(c.queues)
	}
	return tap.Open(c.name, c.queues)
}

// randomMAC is an address of one card that nobody assigned.
func randomMAC() (mac [6]byte) {
	_, _ = rand.Read(mac[:]) // never fails: without a source of the system it ends the process
	mac[0] = mac[0]&^1 | 2   // locally administered, not of a group (IEEE 802 section 8.2)
	return mac
}

// waiters are how many goroutines of the cards wait in system calls for the host.
func (p *netPart) waiters() (n int) {
	for _, c := range p.list {
		n += c.queues
	}
	return n
}
