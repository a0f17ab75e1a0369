package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Fact is one thing that the host offers or not.
type Fact struct {
	Name   string // stable, lower-case, as in "fuse-passthrough"
	OK     bool
	How    string // how it is known
	Detail string // what was found, one line
	Remedy string // what to do; empty if OK or if nothing can be done
}

// Host is what facts are asked of.
type Host struct {
	// Root is put before the paths of device nodes and of files in /proc and /sys; "" is this host itself.
	Root string

	// Speed measures what one privileged instruction costs in a guest of the KVM at path. Without it
	// hardware is told by the kernel module's name.
	Speed func(path string) (time.Duration, error)
}

// found is a fact that is yet to be found.
type found struct {
	name string
	fact func() Fact
}

// finders lists all facts but those of tools, in the order in which a reader wants them.
func (h Host) finders() []found {
	kvm := sync.OnceValue(func() KVMState { return KVM(h.path("/dev/kvm"), h.speed()) })
	return []found{
		{"kvm", func() Fact { return kvm().any() }},
		{"hardware-kvm", func() Fact { return kvm().hardware() }},
		{"cpu-virtualization", h.virtualization},
		{"nested-kvm", h.nested},
		{"memory", h.memory},
		{"hugepages", h.hugepages},
		{"memfd", h.memfd},
		{"userfaultfd", h.userfaultfd},
		{"uring", h.uring},
		{"root", h.root},
		{"tun", h.tun},
		{"vhost-net", func() Fact { return h.vhost("net") }},
		{"vhost-vsock", func() Fact { return h.vhost("vsock") }},
		{"vfio", h.vfio},
		{"iommu", h.iommu},
		{"fuse", h.fuse},
		{"fuse-passthrough", h.fusePassthrough},
		{"loop", h.loop},
		{"pmem", h.pmem},
		{"bpf", h.bpf},
		{"btf", h.btf},
		{"bpf-lsm", h.bpfLSM},
		{"af-xdp", h.xdp},
		{"tcx", h.tcx},
	}
}

// Facts finds all facts, in the order in which a reader wants them.
func (h Host) Facts() []Fact {
	var facts []Fact
	for _, f := range h.finders() {
		facts = append(facts, f.fact())
	}
	return append(facts, Tools()...)
}

// Fact finds the fact of that name; ok is false if there is none such. Tools have [Tool].
func (h Host) Fact(name string) (_ Fact, ok bool) {
	for _, f := range h.finders() {
		if f.name == name {
			return f.fact(), true
		}
	}
	return Fact{}, false
}

func (h Host) path(p string) string { return filepath.Join(h.Root+"/", p) }

// read returns a small file's text without the space around it.
func (h Host) read(p string) (string, error) {
	b, err := os.ReadFile(h.path(p))
	return strings.TrimSpace(string(b)), err
}

// device opens a device node for reading and writing and closes it again.
func (h Host) device(p string) error {
	f, err := openDevice(h.path(p))
	if err != nil {
		return err
	}
	return f.Close()
}

// openDevice refuses what is no device node, such as a file that a script made by writing to it.
func openDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is no device node", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// deviceFact is the fact that a device node can be opened. module is the kernel's option or module for it.
func (h Host) deviceFact(name, node, module string) Fact {
	f := Fact{Name: name, How: "open " + node}
	switch err := h.device(node); {
	case err == nil:
		f.OK, f.Detail = true, node+" opens"
	case errors.Is(err, fs.ErrPermission):
		f.Detail, f.Remedy = "no permission to open "+node, "run as root, or give this user the device"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		f.Detail, f.Remedy = node+" is absent", "modprobe "+module+", or a kernel that has it"
	default:
		f.Detail = err.Error()
	}
	return f
}
