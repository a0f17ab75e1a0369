package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// labMemoryKiB is what the lab and the guest in it use at most, with what the host needs for itself.
const labMemoryKiB = 3 << 20

func (h Host) memory() Fact {
	f := Fact{Name: "memory", How: "MemAvailable in /proc/meminfo"}
	text, err := h.read("/proc/meminfo")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	available := field(text, "MemAvailable:")
	f.OK, f.Detail = available >= labMemoryKiB, fmt.Sprintf("%d MiB available", available>>10)
	if !f.OK {
		f.Remedy = fmt.Sprintf("free %d MiB; the lab needs them", (labMemoryKiB-available)>>10)
	}
	return f
}

func (h Host) hugepages() Fact {
	f := Fact{Name: "hugepages", How: "HugePages_Total in /proc/meminfo"}
	text, err := h.read("/proc/meminfo")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	total, size := field(text, "HugePages_Total:"), field(text, "Hugepagesize:")
	f.OK, f.Detail = total > 0, fmt.Sprintf("%d pages of %d KiB", total, size)
	if !f.OK {
		f.Remedy = "sysctl vm.nr_hugepages=N, if guests should have them"
	}
	return f
}

// field returns the number behind a key of /proc/meminfo, 0 if there is none.
func field(text, key string) uint64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == key {
			n, err := strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

func (h Host) memfd() Fact {
	f := Fact{Name: "memfd", How: "memfd_create with MFD_ALLOW_SEALING"}
	fd, err := unix.MemfdCreate("usui-probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	unix.Close(fd)
	f.OK, f.Detail = true, "makes a sealed file in memory"
	return f
}

// userfaultfd asks for the full kind, which also stops the kernel's own accesses: a guest's memory is
// touched by KVM.
func (h Host) userfaultfd() Fact {
	f := Fact{Name: "userfaultfd", How: "userfaultfd(2) for faults of user and kernel"}
	err := tryUserfaultfd()
	if f.OK = err == nil; f.OK {
		f.Detail = "works"
		return f
	}
	f.Detail, f.Remedy = err.Error(), "run as root, or sysctl vm.unprivileged_userfaultfd=1"
	return f
}

func (h Host) uring() Fact {
	f := Fact{Name: "uring", How: "io_uring_setup(2)"}
	err := tryURing()
	if f.OK = err == nil; f.OK {
		f.Detail = "makes a ring"
		return f
	}
	f.Detail = err.Error()
	if value, err := h.read("/proc/sys/kernel/io_uring_disabled"); err == nil && value != "0" {
		f.Detail, f.Remedy = "switched off: kernel.io_uring_disabled="+value, "sysctl kernel.io_uring_disabled=0"
	}
	return f
}

// pmem looks for persistent memory, as a block device or as one to map.
func (h Host) pmem() Fact {
	f := Fact{Name: "pmem", How: "/dev/pmem* and /dev/dax*"}
	var found []string
	for _, pattern := range []string{"/dev/pmem*", "/dev/dax*"} {
		names, err := filepath.Glob(h.path(pattern))
		if err != nil {
			continue // only a bad pattern is an error
		}
		for _, n := range names {
			found = append(found, strings.TrimPrefix(n, strings.TrimSuffix(h.Root, string(os.PathSeparator))))
		}
	}
	if f.OK = len(found) > 0; f.OK {
		f.Detail = strings.Join(found, " ")
	} else {
		f.Detail, f.Remedy = "none", "usui lab --nvdimm FILE has one"
	}
	return f
}
