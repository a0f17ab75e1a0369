package bench

import (
	"time"

	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// host is what all launches share.
type host struct {
	system   *kvm.System
	software bool          // the KVM interprets the guest's kernel
	amd      bool          // the processor has AMD's instructions
	patience time.Duration // how long a case may take beyond its time
	pin      func(which int)

	counterTicks float64 // between two reads of the counter by a guest; 0 when that traps
	ticksPerNs   float64
}

// cheapCounter is how many ticks two reads of the counter may be apart. More is a trap, which would be timed instead.
const cheapCounter = 200

func openHost(cfg Config) (_ *host, err error) {
	h := &host{patience: cfg.Patience, pin: func(int) {}}
	if h.system, err = kvm.Open(cfg.Device); err != nil {
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
