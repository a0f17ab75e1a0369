package lab

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// scratchSize is the size of a scratch disk in bytes. What is not written to takes no memory.
const scratchSize = 1 << 30

// firstFile is the first descriptor that a process inherits behind stdin, stdout and stderr.
const firstFile = 3

// withScratch adds every device that a machine of cfg.Arch can have, with an empty disk in memory where cfg names no file. The
// files are to be inherited by QEMU as descriptors from first on.
func (cfg Config) withScratch(first int) (_ Config, files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	cfg.E1000E = true
	cfg.IOMMU = cfg.Arch == "amd64"
	kinds := []struct {
		name string
		list *[]string
	}{{NVMe, &cfg.NVMe}, {AHCI, &cfg.AHCI}, {NVDIMM, &cfg.NVDIMM}}
	for _, kind := range kinds {
		if len(*kind.list) > 0 || kind.name == NVDIMM && cfg.Arch != "amd64" {
			continue
		}
		fd, err := unix.MemfdCreate("usui-"+kind.name, unix.MFD_CLOEXEC)
		if err != nil {
			return cfg, files, os.NewSyscallError("memfd_create", err)
		}
		f := os.NewFile(uintptr(fd), kind.name)
		files = append(files, f)
		if err := f.Truncate(scratchSize); err != nil {
			return cfg, files, err
		}
		*kind.list = []string{fmt.Sprintf("/proc/self/fd/%d", first+len(files)-1)}
	}
	return cfg, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
