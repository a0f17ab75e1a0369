package bench

import (
	"context"

	"usui/machine/kvm"
)

// recipe has nothing in it: there are no cases for this architecture.
type recipe struct{}

func cases() []Case { return nil }

type host struct {
	system   *kvm.System
	software bool
	tscKHz   int // arm64 has no such counter
}

func openHost(cfg Config) (*host, error) {
	system, err := open(cfg.Device)
	return &host{system: system}, err
}

func (h *host) close() error { return h.system.Close() }

func (h *host) measuredOn() []int { return nil }

func (h *host) launch(context.Context, Config, Case) (launched, error) {
	return launched{}, na("there are no cases for this architecture")
}
