package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/debian"
	"usui/internal/physmem"
)

// Features of a lab, as USUI_LAB lists them inside.
const (
	KVM    = "kvm"    // /dev/kvm with nested paging
	IOMMU  = "iommu"  // VFIO with interrupt remapping
	NVMe   = "nvme"   // an NVMe controller, bound to its driver
	AHCI   = "ahci"   // an AHCI controller with a disk
	E1000E = "e1000e" // an Intel network card, not connected
	NVDIMM = "nvdimm" // persistent memory, /dev/pmem0
)

// Config is a lab's shape. The zero value is an amd64 machine with two CPUs, 4 GiB and KVM.
type Config struct {
	Arch        string // "amd64" (the default) or "arm64"
	Kernel      string // a kind of [usui/internal/debian.KernelPackage]; the default is the 6.12 series
	CPUs        int    // the default is 2
	MemoryBytes int64  // the default is 4 GiB, or half of a smaller host's
	HugePages   int    // pages of 2 MiB that are set aside of it

	Disks              []Disk   // virtio block devices, at the paths of their files inside
	NVMe, AHCI, NVDIMM []string // files of devices of that kind
	E1000E, IOMMU      bool
	Scratch            bool // all devices at once, those without a file on memory files; see [Config.withScratch]

	Results string        // an existing folder of the host, writable inside; empty for none
	Timeout time.Duration // from the start of QEMU to the end of the command; 0 for none
	Update  bool          // look for a newer kernel than the one in the cache

	CacheDir string    // usui's cache folder; empty for [usui/internal/debian.Dir]
	Init     string    // static usui-init for Arch; empty for the one beside the running executable
	Progress io.Writer // one line for each long work, such as a download; nil for none
	Verbose  io.Writer // one line for each phase of the boot, with its time, and the console; nil for none
}

// Disk is a raw image or a block device of the host.
type Disk struct {
	Path     string
	ReadOnly bool
}

// ConfigError is a value in a [Config] that makes no sense on any host.
type ConfigError string

// Error implements error.
func (e ConfigError) Error() string { return string(e) }

func configError(format string, args ...any) error { return ConfigError(fmt.Sprintf(format, args...)) }

// Limits of what the machine types take.
const (
	hugePageBytes = 2 << 20

	maxCPUs   = 64
	minMemory = 256 << 20 // bytes; a Debian kernel of the 6.12 series does not boot with less
	maxDisks  = 24        // slots of the one PCI bus that nothing else may need
	maxAHCI   = 6         // ports of an ICH9's controller
	maxNVDIMM = 8
)

// complete checks cfg and fills in what is left out.
func (cfg Config) complete() (Config, error) {
	hostMemory, err := physmem.Total()
	if err != nil {
		return cfg, err
	}
	if cfg.Arch == "" {
		cfg.Arch = "amd64"
	}
	if cfg.Kernel == "" {
		cfg.Kernel = "6.12"
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 2
	}
	if cfg.MemoryBytes == 0 {
		cfg.MemoryBytes = min(4<<30, hostMemory/2&^(1<<20-1))
	}
	if err := cfg.checkMachine(hostMemory); err != nil {
		return cfg, err
	}
	return cfg, cfg.checkFiles()
}

func (cfg Config) checkMachine(hostMemory int64) error {
	switch _, err := debian.KernelPackage(cfg.Kernel, cfg.Arch); {
	case machines(cfg.Arch) == nil:
		return configError("architecture %q: a lab is amd64 or arm64", cfg.Arch)
	case err != nil:
		return ConfigError(err.Error())
	case cfg.CPUs < 1 || cfg.CPUs > maxCPUs:
		return configError("%d CPUs: a lab has 1 to %d", cfg.CPUs, maxCPUs)
	case cfg.MemoryBytes < minMemory:
		return configError("memory of %d MiB: a lab needs %d MiB", cfg.MemoryBytes>>20, minMemory>>20)
	case cfg.MemoryBytes > hostMemory:
		return fmt.Errorf("memory of %d MiB: this host has %d MiB", cfg.MemoryBytes>>20, hostMemory>>20)
	case cfg.HugePages < 0 || int64(cfg.HugePages) > (cfg.MemoryBytes-minMemory)/hugePageBytes:
		return configError("%d huge pages: a lab of %d MiB can set 0 to %d aside", cfg.HugePages, cfg.MemoryBytes>>20, (cfg.MemoryBytes-minMemory)/hugePageBytes)
	case cfg.Timeout < 0:
		return configError("timeout of %v: use a positive one, or none", cfg.Timeout)
	case cfg.Arch != "amd64" && (cfg.IOMMU || len(cfg.NVDIMM) > 0):
		return configError("IOMMU and NVDIMM: only an amd64 lab has them")
	case len(cfg.Disks)+len(cfg.NVMe) > maxDisks:
		return configError("%d virtio and NVMe disks: a lab takes %d", len(cfg.Disks)+len(cfg.NVMe), maxDisks)
	case len(cfg.NVDIMM) > maxNVDIMM:
		return configError("%d NVDIMMs: a lab takes %d", len(cfg.NVDIMM), maxNVDIMM)
	case len(cfg.AHCI) > maxAHCI:
		return configError("%d AHCI disks: the controller has %d ports", len(cfg.AHCI), maxAHCI)
	}
	return nil
}

// checkFiles finds out before QEMU starts what QEMU would say less clearly.
func (cfg Config) checkFiles() error {
	for _, d := range cfg.allDisks() {
		if err := checkDisk(d); err != nil {
			return err
		}
	}
	if cfg.Results == "" {
		return nil
	}
	info, err := os.Stat(cfg.Results)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "use results folder", Path: cfg.Results, Err: errors.New("not a folder")}
	}
	return err
}

// allDisks lists the files of all devices.
func (cfg Config) allDisks() []Disk {
	disks := append([]Disk{}, cfg.Disks...)
	for _, files := range [][]string{cfg.NVMe, cfg.AHCI, cfg.NVDIMM} {
		for _, f := range files {
			disks = append(disks, Disk{Path: f})
		}
	}
	return disks
}

// writerByte is RAW_LOCK_PERM_BASE and the bit number of BLK_PERM_WRITE.
const writerByte = 100 + 1

// checkDisk opens a disk's file as QEMU will and looks whether another process holds a lock on it.
func checkDisk(d Disk) error {
	flags := os.O_RDWR
	if d.ReadOnly {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(d.Path, flags|unix.O_NONBLOCK, 0) // a FIFO without a writer would hold us for ever
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() && info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice:
		return fmt.Errorf("disk %s: neither a file nor a block device", d.Path)
	case info.Mode().IsRegular() && info.Size() == 0:
		return fmt.Errorf("disk %s: the file is empty; truncate -s 1G %s makes a disk of it", d.Path, d.Path)
	}
	// QEMU and usui lock single bytes of an image in use (block/file-posix.c): a lock on any byte is in a writer's way, in a reader's
	// the one of who may write.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if d.ReadOnly {
		lock.Start, lock.Len = writerByte, 1
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err == nil && lock.Type != unix.F_UNLCK {
		return fmt.Errorf("disk %s: in use by another process", d.Path)
	}
	return nil
}

// features lists what USUI_LAB says inside.
func (cfg Config) features() []string {
	list := []string{KVM}
	for _, f := range []struct {
		name string
		on   bool
	}{{IOMMU, cfg.IOMMU}, {NVMe, len(cfg.NVMe) > 0}, {AHCI, len(cfg.AHCI) > 0}, {E1000E, cfg.E1000E}, {NVDIMM, len(cfg.NVDIMM) > 0}} {
		if f.on {
			list = append(list, f.name)
		}
	}
	return list
}

// runsHostPrograms reports whether the lab's processor is of the host's kind.
func (cfg Config) runsHostPrograms() bool { return cfg.Arch == HostArch }

// absolute returns path as the lab's file system has it: absolute, without symbolic links.
func absolute(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// HostArch is the Debian architecture of this host.
const HostArch = runtime.GOARCH
