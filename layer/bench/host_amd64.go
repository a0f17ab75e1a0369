package bench

import (
	"time"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// host is what all launches share.
type host struct {
	system     *kvm.System
	software   bool          // the KVM interprets the guest's kernel
	amd        bool          // the processor has AMD's instructions
	tscKHz     int           // frequency of a guest's time-stamp counter; 0 until there was a guest
	patience   time.Duration // how long a case may take beyond its time
	processors []int         // that this process may use

	anyCounter bool // a test wants the guest's counter, however dear it is
}

func openHost(cfg Config) (_ *host, err error) {
	h := &host{patience: cfg.Patience}
	if h.processors, err = processors(); err != nil {
		return nil, err
	}
	if h.system, err = open(cfg.Device); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.system.Close()
		}
	}()
	speed, err := tinyguest.Ring0Speed(cfg.Device)
	if err != nil {
		return nil, err
	}
	h.software = speed > tinyguest.SoftwareThreshold
	leaves, err := h.system.SupportedCPUID()
	if err != nil {
		return nil, err
	}
	for _, l := range leaves {
		if l.Function == 0 {
			h.amd = l.Ebx == 0x68747541 || l.Ebx == 0x6f677948 // "Auth"enticAMD, "Hygo"nGenuine
		}
	}
	return h, nil
}

func (h *host) close() error { return h.system.Close() }

// pin binds the calling thread to a processor: 0 for the one that measures, 1 for the one beside it. Where it may not, the
// launches differ a little more.
func (h *host) pin(which int) {
	_ = pin(h.processor(which))
}

// processor is the one of that role: the last ones, because the first ones serve most interrupts.
func (h *host) processor(which int) int {
	n := len(h.processors)
	return h.processors[(2*n-1-which)%n]
}

// measuredOn lists the processors whose time counts.
func (h *host) measuredOn() []int { return []int{h.processor(0), h.processor(1)} }
