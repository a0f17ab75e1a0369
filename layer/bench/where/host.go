package where

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Host is what an environment is read of.
type Host struct {
	// Root is put before the paths of files in /proc and /sys; "" is this host itself.
	Root string

	// Software says that a measurement found that this KVM interprets privileged code, whatever its module
	// is called.
	Software bool
}

// Read reads the environment. Steal stays 0, see [Host.Times] and [StealBetween], and so does TSCkHz, which stands in no file. It fails if there is no
// /proc/cpuinfo, or with the cause of ctx.
func (h Host) Read(ctx context.Context) (Environment, error) {
	info, err := h.read("/proc/cpuinfo", maxCPUInfo)
	if err != nil {
		return Environment{}, err
	}
	c := parseCPUInfo(info)
	e := Environment{CPU: c.name(), Microcode: Plain(c.first["microcode"]), CPUs: c.count}
	e.Module = h.module(c)
	e.Kind = h.kind(e.Module, c)
	e.Kernel = h.text("/proc/sys/kernel/osrelease")
	e.Governor = h.governor()
	e.Mitigations = map[string]string{}
	e.Parameters = map[string]string{}
	h.folder(ctx, "/sys/devices/system/cpu/vulnerabilities", "", e.Mitigations)
	h.folder(ctx, "/sys/module/kvm/parameters", "kvm.", e.Parameters)
	if e.Module != "" && e.Module != "kvm" {
		h.folder(ctx, "/sys/module/"+e.Module+"/parameters", e.Module+".", e.Parameters)
	}
	return e, context.Cause(ctx)
}

// vendorModules drive the processor's own virtualization on amd64.
var vendorModules = []string{"kvm_intel", "kvm_amd"}

// module finds the module behind /dev/kvm. One that is built into the kernel has a folder even if it found no
// processor for it, so a vendor's module comes last and counts before the other only with its flag.
func (h Host) module(c cpuInfo) string {
	folders, _ := filepath.Glob(h.path("/sys/module/kvm_*")) // the pattern is well-formed
	var found []string
	for _, f := range folders {
		found = append(found, Plain(filepath.Base(f)))
	}
	if i := slices.IndexFunc(found, func(m string) bool { return !slices.Contains(vendorModules, m) }); i >= 0 {
		return found[i]
	}
	if c.has("svm") && slices.Contains(found, "kvm_amd") {
		return "kvm_amd"
	}
	if len(found) > 0 {
		return found[len(found)-1] // kvm_intel after kvm_amd
	}
	if _, err := os.Stat(h.path("/sys/module/kvm")); err == nil {
		return "kvm"
	}
	return ""
}

// kind judges by the module's name, unless a measurement knows better.
func (h Host) kind(module string, c cpuInfo) string {
	switch {
	case h.Software:
		return Software
	case module == "":
		return ""
	case c.arm() || slices.Contains(vendorModules, module):
		if c.has("hypervisor") {
			return Nested
		}
		return Hardware
	}
	return Software
}

// governor joins the governors of all CPUs' frequencies.
func (h Host) governor() string {
	files, _ := filepath.Glob(h.path("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")) // ditto
	var found []string
	for _, f := range files {
		if text := h.text(strings.TrimPrefix(f, h.path("/"))); text != "" {
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return Plain(strings.Join(slices.Compact(found), ","))
}

// folder adds the texts of the files in a folder, as long as ctx lasts. Files that cannot be read, as some
// parameters, are left out.
func (h Host) folder(ctx context.Context, dir, prefix string, into map[string]string) {
	entries, err := os.ReadDir(h.path(dir))
	if err != nil {
		return
	}
	for _, entry := range entries {
		if ctx.Err() != nil || len(into) == maxEntries {
			return
		}
		if b, err := h.read(filepath.Join(dir, entry.Name()), maxText); err == nil {
			into[Plain(prefix+entry.Name())] = Plain(string(b))
		}
	}
}

// text returns a short file's text, "" if there is none.
func (h Host) text(path string) string {
	b, err := h.read(path, maxText)
	if err != nil {
		return ""
	}
	return Plain(string(b))
}

// read returns at most limit bytes of a file.
func (h Host) read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(h.path(path))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, errors.Join(err, f.Close())
}

func (h Host) path(p string) string { return filepath.Join(h.Root+"/", p) }
