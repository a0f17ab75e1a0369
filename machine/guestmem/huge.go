package guestmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HugePageSize is the size of the pages of [NewHuge].
const HugePageSize = hugePage

// NewHuge is [New] with memory from the host's reserved huge pages of 2 MiB (hugetlbfs(5)). The ranges must begin and end on 2 MiB
// boundaries. All pages are set aside for this guest here, though touched later; where the host does not have so many free, the error says
// how many are wanted and how to get them.
func NewHuge(ranges []Range) (*Memory, error) {
	for _, r := range ranges {
		if r.Start%hugePage != 0 || r.Size%hugePage != 0 {
			return nil, fmt.Errorf("guest memory at %#x, %d bytes: not in huge pages of %d bytes", r.Start, r.Size, hugePage)
		}
	}
	// Without MAP_NORESERVE: mmap sets the pages aside, or says that there are not enough.
	m, err := build(ranges, hugePage, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB, 0)
	if sum, e := total(ranges); e == nil && errors.Is(err, unix.ENOMEM) {
		return nil, noHugePages(hugePagesFolder, sum/hugePage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("guest memory in huge pages of 2 MiB: %w", err)
	}
	return m, nil
}

// hugePagesFolder is the kernel's view of its huge pages (Documentation/admin-guide/mm/hugetlbpage.rst).
const hugePagesFolder = "/sys/kernel/mm/hugepages/hugepages-2048kB"

// noHugePages says how many huge pages are missing and what to do about it.
func noHugePages(folder string, want uint64, cause error) error {
	all, err := count(folder, "nr_hugepages")
	unused, err2 := count(folder, "free_hugepages")
	promised, err3 := count(folder, "resv_hugepages")
	if errors.Join(err, err2, err3) != nil {
		return fmt.Errorf("guest memory of %d huge pages of 2 MiB: %w", want, cause)
	}
	unused -= min(promised, unused)
	if unused >= want { // enough in the machine, but not for this process: a cgroup, or another NUMA policy
		return fmt.Errorf("guest memory of %d huge pages of 2 MiB: %w, though %d of the host's %d are free", want, cause, unused, all)
	}
	return fmt.Errorf("guest memory of %d huge pages of 2 MiB: %d of the host's %d are free; as root, echo %d > %s makes enough of them if memory is free in such pieces",
		want, unused, all, all+want-unused, filepath.Join(folder, "nr_hugepages"))
}

func count(folder, file string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}
