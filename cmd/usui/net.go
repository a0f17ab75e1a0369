package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	gonet "net"
	"slices"
	"strconv"
	"strings"

	"usui/host/tap"
	"usui/host/usernet"
	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/virtio/net"
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

	receive, send rate // as the guest sees it
}

// rate bounds what a card moves in one direction in a second; 0 is no bound.
type rate struct{ frames, bytes uint64 }

// maxCards is how many a user can want.
const maxCards = 8

func (p *netPart) flags(f *flag.FlagSet) {
	p.userFlags(f)
	f.Func("net", "plug in the network `card` user[,...], a network that needs no privilege, or tap[=NAME][,mac=MAC][,mtu=BYTES][,queues=N][,rx-bw=SIZE][,tx-bw=SIZE][,rx-pps=N][,tx-pps=N][,vhost]: into the host's tap of that name, or into one that is made and goes away at the end, and with vhost the host's kernel moves the frames; without mac it has another address each time; at most so many bytes and frames a second are received (rx) and sent (tx), as the guest sees it; may be repeated", func(text string) error {
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
		if c.user != nil && !slices.Contains(cardWords, name) {
			if err := c.user.Set(word); err != nil {
				return c, err
			}
			continue
		}
		if err := c.set(name, value); err != nil {
			return c, err
		}
	}
	if c.vhost && (c.receive != rate{} || c.send != rate{}) {
		return c, fmt.Errorf("vhost: the host's kernel moves the frames and keeps no limit; leave vhost or the limits out")
	}
	return c, nil
}

// cardWords are the words that a card with user networking has beside those of its network.
var cardWords = []string{"mac", "queues", "rx-bw", "tx-bw", "rx-pps", "tx-pps"}

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
	case "rx-bw":
		c.receive.bytes, err = bytesASecond(name, value)
	case "tx-bw":
		c.send.bytes, err = bytesASecond(name, value)
	case "rx-pps":
		c.receive.frames, err = countASecond(name, value, "frames")
	case "tx-pps":
		c.send.frames, err = countASecond(name, value, "frames")
	default:
		return fmt.Errorf("%q: a tap takes mac=, mtu=, queues=, rx-bw=, tx-bw=, rx-pps=, tx-pps= and vhost", name)
	}
	return err
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
	for _, r := range []struct {
		name string
		rate rate
	}{{"rx", c.receive}, {"tx", c.send}} {
		if size := sizeValue(r.rate.bytes); size != 0 {
			text += fmt.Sprintf(",%s-bw=%s", r.name, size.String())
		}
		if r.rate.frames != 0 {
			text += fmt.Sprintf(",%s-pps=%d", r.name, r.rate.frames)
		}
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
	for i, c := range p.list {
		build := c.build
		if c.user != nil {
			build = func(b *builder, name string) error { return c.buildUser(b, name, p.publish) }
		}
		if err := build(b, cardName(i)); err != nil {
			return fmt.Errorf("--net %s: %w", c, err)
		}
	}
	return nil
}

// cardName is the name of a machine's card number i, in messages and for usui unplug.
func cardName(i int) string { return fmt.Sprintf("net%d", i) }

func (c netCard) build(b *builder, name string) error {
	cable, card, err := c.open(b.cfg.Log)
	if err != nil {
		return err
	}
	b.attach(name, card, cable, cardSource(name, cable.Name(), card))
	plugged := event{Event: "net", Interface: cable.Name(), MAC: card.MAC().String()}
	plugged.Detail = fmt.Sprintf("a network card with address %s is plugged into the tap %s", plugged.MAC, plugged.Interface)
	if c.name == "" {
		plugged.Detail += ", which goes away with the machine"
	}
	b.ev.tell(plugged)
	return nil
}

// cardSource are the counters of a card.
func cardSource(name, behind string, d *net.Net) source {
	return source{Kind: "net", Name: name, Detail: behind, mac: d.MAC().String(), stats: func() any { return d.Stats() }}
}

// open opens the tap, or makes it, and makes a card that is plugged into it.
func (c netCard) open(log *slog.Logger) (cable *tap.Tap, card *net.Net, err error) {
	if c.name == "" {
		cable, err = tap.Make(c.queues)
	} else {
		cable, err = tap.Open(c.name, c.queues)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cable.Close())
		}
	}()
	mtu := c.mtu
	if mtu != 0 {
		err = cable.SetMTU(mtu)
	} else {
		mtu, err = cable.MTU()
	}
	if err != nil {
		return nil, nil, err
	}
	card, err = c.device(net.Config{Name: cable.Name(), Backend: net.NewTap(cable), MTU: mtu, Log: log})
	return cable, card, err
}

// device makes the card for a backend.
func (c netCard) device(cfg net.Config) (_ *net.Net, err error) {
	if cfg.MAC = c.mac; c.mac == [6]byte{} {
		cfg.MAC = randomMAC()
	}
	cfg.Vhost = c.vhost
	if cfg.Receive, err = newLimit(c.receive.frames, c.receive.bytes); err != nil {
		return nil, err
	}
	if cfg.Send, err = newLimit(c.send.frames, c.send.bytes); err != nil {
		return nil, err
	}
	return net.New(cfg)
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
