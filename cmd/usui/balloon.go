package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/virtio/balloon"
)

// balloonPart is a machine's memory balloon.
type balloonPart struct {
	text      string    // as the user wrote it; empty: there is none
	size      sizeValue // what it takes at first
	reporting *bool     // nil: as is best for the machine's memory
	noOOM     bool      // not deflated when the guest runs out of memory
	every     time.Duration

	device *balloon.Balloon // since build
}

func (p *balloonPart) flags(f *flag.FlagSet) {
	f.Func("balloon", "add a memory balloon, `on|SIZE[,option...]`: it takes SIZE of the guest's memory back for the host, or with \"on\" nothing at first.\n"+
		"Options: reporting=on|off, whether memory goes back as the guest frees it (default on, but off with --hugepages);\n"+
		"deflate-on-oom=on|off, whether a guest that has no other memory may take it back (default on); stats=TIME, how often\n"+
		"the guest is asked for statistics, such as 1s (default never)", p.set)
}

// balloonForm is what a value looks like.
const balloonForm = "on or SIZE, then options with commas between: reporting=on|off, deflate-on-oom=on|off, stats=1s"

// shortestPoll is how often a guest can be asked: it answers by code that it would not run otherwise.
const shortestPoll = 100 * time.Millisecond

// set parses the flag's value.
func (p *balloonPart) set(text string) error {
	if p.text != "" {
		return errors.New("given twice: a machine has one balloon")
	}
	size, options, more := strings.Cut(text, ",")
	size = strings.TrimPrefix(size, "size=") // as other monitors want it
	if size != "on" {
		if err := p.size.Set(size); err != nil {
			return fmt.Errorf("%q: write %s", text, balloonForm)
		}
	}
	for more {
		var option string
		option, options, more = strings.Cut(options, ",")
		if err := p.option(option); err != nil {
			return fmt.Errorf("%q in %q: %w", option, text, err)
		}
	}
	p.text = text
	return nil
}

func (p *balloonPart) option(text string) (err error) {
	name, value, _ := strings.Cut(text, "=")
	switch name {
	case "reporting":
		p.reporting = new(bool)
		*p.reporting, err = parseSwitch(value)
	case "deflate-on-oom":
		var on bool
		on, err = parseSwitch(value)
		p.noOOM = !on
	case "stats":
		p.every, err = time.ParseDuration(value)
		if err != nil || p.every < shortestPoll {
			err = fmt.Errorf("want a time of at least %v, such as stats=1s", shortestPoll)
		}
	default:
		err = fmt.Errorf("no option of a balloon; write %s", balloonForm)
	}
	return err
}

// parseSwitch reads on or off.
func parseSwitch(text string) (bool, error) {
	if text != "on" && text != "off" {
		return false, errors.New("want on or off")
	}
	return text == "on", nil
}

func (p *balloonPart) check() error { return nil }

// checkMemory refuses a balloon that leaves the guest nothing.
func (p *balloonPart) checkMemory(memory sizeValue) error {
	if p.size > 0 && p.size+leastMemory > memory {
		return cli.UsageError("--balloon %s: leaves a guest with --memory %s less than the %d MiB that a Linux kernel needs", p.text, &memory, leastMemory>>20)
	}
	return nil
}

func (p *balloonPart) checkHost() error { return nil }

func (p *balloonPart) argv() []string {
	if p.text == "" {
		return nil
	}
	return []string{"--balloon", p.text}
}

func (p *balloonPart) prepareLab(*lab.Config) error { return nil }

func (p *balloonPart) build(_ context.Context, b *builder) (err error) {
	if p.text == "" {
		return nil
	}
	// What a guest gives back of huge pages may be gone when it wants it again: only on request, then.
	reporting := !b.cfg.HugePages
	if p.reporting != nil {
		reporting = *p.reporting
	}
	p.device, err = balloon.New(balloon.Config{
		Memory: b.cfg.Memory, Target: uint64(p.size), Reporting: reporting, DeflateOnOOM: !p.noOOM, StatsEvery: p.every, Log: b.cfg.Log,
	})
	if err != nil {
		return err
	}
	watched := []source{{Kind: "balloon", Name: "balloon", stats: func() any { return p.device.Stats() }}}
	if p.every > 0 {
		watched = append(watched, source{Kind: "guest_memory", Name: "balloon", stats: func() any { return p.device.LastGuestStats() }})
	}
	b.attach("balloon", p.device, nil, watched...)
	return nil
}
