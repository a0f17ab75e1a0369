package probe

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// release returns the kernel's release, as in "6.12.41-amd64".
func (h Host) release() string {
	text, err := h.read("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return text
}

// atLeast compares the first two numbers of a kernel's release.
func atLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	gotMajor, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	gotMinor, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}

// configLimit bounds how much of a configuration is unpacked; real ones have 300 KiB.
const configLimit = 4 << 20

// config returns the kernel's configuration, "" if it is not readable.
func (h Host) config() string {
	if text, err := h.read("/boot/config-" + h.release()); err == nil {
		return text
	}
	f, err := os.Open(h.path("/proc/config.gz"))
	if err != nil {
		return ""
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(z, configLimit))
	if err != nil {
		return ""
	}
	return string(text)
}

// Bits of a process's capabilities; see include/uapi/linux/capability.h.
const capNetAdmin = 12

// capable says whether this process has a capability in effect.
func (h Host) capable(bit int) bool {
	text, err := h.read("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && set&(1<<bit) != 0
		}
	}
	return false
}

func (h Host) root() Fact {
	f := Fact{Name: "root", OK: os.Geteuid() == 0, How: "effective user", Detail: fmt.Sprintf("user %d", os.Geteuid())}
	if !f.OK {
		f.Remedy = "run as root"
	}
	return f
}

func (h Host) bpf() Fact {
	f := Fact{Name: "bpf", How: "bpf(2), making a map"}
	err := tryBPF()
	if f.OK = err == nil; f.OK {
		f.Detail = "makes maps"
		return f
	}
	f.Detail, f.Remedy = err.Error(), "run as root"
	return f
}

func (h Host) btf() Fact {
	f := Fact{Name: "btf", How: "/sys/kernel/btf/vmlinux"}
	info, err := os.Stat(h.path("/sys/kernel/btf/vmlinux"))
	if err != nil {
		f.Detail, f.Remedy = "the kernel describes no types", "a kernel with CONFIG_DEBUG_INFO_BTF=y"
		return f
	}
	f.OK, f.Detail = true, fmt.Sprintf("%d KiB of the kernel's types", info.Size()>>10)
	return f
}

// bpfLSM asks the kernel for its active security modules; before Linux 6.8 only securityfs tells.
func (h Host) bpfLSM() Fact {
	f := Fact{Name: "bpf-lsm", How: "lsm_list_modules(2)", Remedy: "boot with lsm=...,bpf on a kernel with CONFIG_BPF_LSM=y"}
	modules, err := listLSMs()
	switch {
	case err == nil:
		f.OK = slices.Contains(modules, lsmIDBPF)
		f.Detail = "not among the active security modules"
	default:
		f.How = "/sys/kernel/security/lsm"
		text, err := h.read(f.How)
		if errors.Is(err, os.ErrNotExist) {
			f.Detail, f.Remedy = "securityfs is not mounted", "mount -t securityfs securityfs /sys/kernel/security"
			return f
		}
		f.OK = slices.Contains(strings.Split(text, ","), "bpf")
		f.Detail = "active: " + text
	}
	if f.OK {
		f.Detail, f.Remedy = "active; whether programs load, only loading one tells", ""
	}
	return f
}

func (h Host) xdp() Fact {
	f := Fact{Name: "af-xdp", How: "socket(AF_XDP)"}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		unix.Close(fd)
		f.OK, f.Detail = true, "makes sockets"
	case errors.Is(err, syscall.EPERM):
		f.Detail, f.Remedy = err.Error(), "run as root"
	default:
		f.Detail, f.Remedy = err.Error(), "a kernel with CONFIG_XDP_SOCKETS=y"
	}
	return f
}

// tcx goes by the version: trying it would attach a program to a network device.
func (h Host) tcx() Fact {
	release := h.release()
	f := Fact{Name: "tcx", OK: atLeast(release, 6, 6), How: "kernel version (Linux 6.6)", Detail: "Linux " + release}
	if !f.OK {
		f.Remedy = "a kernel from 6.6 on; before, egress attaches with clsact"
	}
	return f
}
