package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"usui/host/usernet"
	"usui/internal/cli"
	"usui/internal/pid1/wire"
	"usui/machine/virtio/net"
)

func (p *netPart) userFlags(f *flag.FlagSet) {
	f.Func("publish", "let a `port` of this host lead to one of the guest with --net user: [ADDRESS:]HOST:GUEST[/udp], as in 8080:80; without an address only this host's programs reach it; may be repeated", func(text string) error {
		port, err := usernet.ParsePublish(text)
		p.publish = append(p.publish, port)
		return err
	})
}

// checkUser refuses a second user network, whose addresses would be those of the first, and ports that lead nowhere.
func (p *netPart) checkUser() error {
	var user *usernet.Config
	for _, c := range p.list {
		if c.user != nil && user != nil {
			return cli.UsageError("--net %s: the machine has a card with user networking already", c)
		}
		if c.user != nil {
			user = c.user
		}
	}
	if user == nil && len(p.publish) > 0 {
		return cli.UsageError("--publish %s: add --net user, whose ports it is about", p.publish[0])
	}
	if user == nil {
		return nil
	}
	all := *user
	all.Publish = p.publish
	if err := all.Check(); err != nil {
		return cli.UsageError("--publish: %v", err)
	}
	return nil
}

// warnOfLab tells where the network is when the machine runs inside a lab.
func (p *netPart) warnOfLab(progress io.Writer) {
	for _, c := range p.list {
		if c.user != nil && progress != nil {
			fmt.Fprintf(progress, "usui: run: --net %s: the machine runs inside the lab, which has no network: the guest reaches the lab's programs alone, and they its published ports\n", c)
		}
	}
}

// userBackend is what a card with user networking is plugged into.
type userBackend struct{ process *usernet.Process }

// Queues implements [net.Backend].
func (u userBackend) Queues() []int { return u.process.Frames }

// Offloads implements [net.Backend]: TCP over IPv4 in large segments, and checksums that are not finished.
func (u userBackend) Offloads() uint64 {
	return net.FeatureCsum | net.FeatureHostTSO4 | net.FeatureHostECN | net.FeatureGuestCsum | net.FeatureGuestTSO4
}

// Use implements [net.Backend].
func (u userBackend) Use(features uint64, pairs int) error {
	d := usernet.Driver{Pairs: pairs}
	if features&net.FeatureGuestCsum != 0 {
		d.Offload |= usernet.OffloadChecksum
	}
	if features&net.FeatureGuestTSO4 != 0 {
		d.Offload |= usernet.OffloadTSO4
	}
	return usernet.SendDriver(u.process.Frames[0], d)
}

// buildUser starts usui-net, plugs a card into it, and sees to it that the default guest uses it.
func (c netCard) buildUser(b *builder, name string, publish []usernet.Publish) error {
	program, err := usernet.FindProgram()
	if err != nil {
		return err
	}
	cfg := *c.user
	cfg.Publish = publish
	process, err := usernet.Start(program, cfg, c.queues, b.env.Stderr)
	if err != nil {
		return err
	}
	card, err := c.device(net.Config{Name: "user", Backend: userBackend{process}, MTU: cfg.MTU, Log: b.cfg.Log})
	if err != nil {
		return errors.Join(err, process.Close())
	}
	b.attach(name, card, process, cardSource(name, "user networking", card))
	for i, port := range process.Ports {
		if publish[i].Host.Port() == 0 { // who named the port knows it
			b.ev.note("net", fmt.Sprintf("%s of this host leads to port %d of the guest", port, publish[i].Guest))
		}
	}
	b.steps = append(b.steps, guestSteps(cfg, card.MAC().String())...)
	return nil
}

// guestSteps give the default guest what others ask DHCP for.
func guestSteps(cfg usernet.Config, card string) []wire.Step {
	gateway := cfg.Gateway().String()
	if cfg.Restrict {
		gateway = "" // nothing is behind it
	}
	return []wire.Step{
		wire.Net(card, fmt.Sprintf("%s/%d", cfg.Guest(), cfg.Subnet.Bits()), gateway),
		wire.Write("/etc/resolv.conf", fmt.Sprintf("nameserver %s\n", cfg.Resolver())),
	}
}
