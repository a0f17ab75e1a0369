package probe

import (
	"fmt"
	"os"
	"strings"
)

// tun opens the node; making an interface needs CAP_NET_ADMIN besides, and would be seen by the network
// manager, so the capability is read instead.
func (h Host) tun() Fact {
	f := h.deviceFact("tun", "/dev/net/tun", "tun")
	f.How += ", CAP_NET_ADMIN"
	if f.OK && !h.capable(capNetAdmin) {
		f.OK, f.Detail, f.Remedy = false, "this process lacks CAP_NET_ADMIN", "run as root"
	}
	return f
}

func (h Host) vhost(kind string) Fact {
	return h.deviceFact("vhost-"+kind, "/dev/vhost-"+kind, "vhost_"+kind)
}

func (h Host) vfio() Fact { return h.deviceFact("vfio", "/dev/vfio/vfio", "vfio-pci") }

func (h Host) iommu() Fact {
	f := Fact{Name: "iommu", How: "groups with devices in /sys/kernel/iommu_groups"}
	groups, err := os.ReadDir(h.path("/sys/kernel/iommu_groups"))
	if err != nil {
		f.Detail = "the kernel has no IOMMU groups"
		return f
	}
	n := 0
	for _, g := range groups {
		if devices, err := os.ReadDir(h.path("/sys/kernel/iommu_groups/" + g.Name() + "/devices")); err == nil && len(devices) > 0 {
			n++
		}
	}
	f.OK, f.Detail = n > 0, fmt.Sprintf("%d groups", n)
	if !f.OK {
		f.Remedy = "switch the IOMMU on in the firmware and with intel_iommu=on; usui lab --iommu has one"
	}
	return f
}

func (h Host) fuse() Fact { return h.deviceFact("fuse", "/dev/fuse", "fuse") }

// loop opens the node that gives out loop devices; to use one takes root besides.
func (h Host) loop() Fact { return h.deviceFact("loop", "/dev/loop-control", "loop") }

// fusePassthrough goes by the kernel's configuration: asking FUSE itself takes a mounted file system.
func (h Host) fusePassthrough() Fact {
	f := Fact{Name: "fuse-passthrough", How: "CONFIG_FUSE_PASSTHROUGH (Linux 6.9)"}
	release, config := h.release(), h.config()
	switch {
	case config != "":
		f.OK = hasLine(config, "CONFIG_FUSE_PASSTHROUGH=y")
		f.Detail = "set in this kernel's configuration"
		if !f.OK {
			f.Detail = "not set in this kernel's configuration"
		}
	default:
		f.How = "kernel version, as its configuration is not readable"
		f.OK = atLeast(release, 6, 9)
		f.Detail = "Linux " + release
	}
	if !f.OK {
		f.Remedy = "a kernel from 6.9 on with CONFIG_FUSE_PASSTHROUGH=y"
	}
	return f
}

func hasWord(text, word string) bool {
	for w := range strings.FieldsSeq(text) {
		if w == word {
			return true
		}
	}
	return false
}

func hasLine(text, line string) bool {
	for l := range strings.Lines(text) {
		if strings.TrimSuffix(l, "\n") == line {
			return true
		}
	}
	return false
}
