package guestimage

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"usui/internal/debian"
	"usui/internal/initrd"
)

// Options choose a guest. The zero value is the one of "usui run".
type Options struct {
	Kernel   string    // a kind of [debian.KernelPackage]; empty for "cloud"
	Arch     string    // a Debian architecture; empty for the host's
	CacheDir string    // usui's cache folder; empty for [debian.Dir]
	Init     string    // static usui-init for Arch; empty for the one that [FindInit] finds
	Progress io.Writer // one line for each long work, such as a download; nil for none
}

// Image is a guest to boot.
type Image struct {
	Kernel        string // path of the kernel as Debian packs it: a bzImage for amd64
	Initrd        string // path of the initramfs
	KernelRelease string // as "uname -r" says it in the guest
}

// layout is part of the key of cached images: a change of what is in them that the other parts do not show gets a new number.
const layout = "3"

// modules are what the guest needs of its kernel; those that are built in take no room. pvpanic_mmio tells the monitor of a panic.
var modules = [...]string{"virtio_pci", "virtio_console", "virtio_blk", "virtio_rng", "ext4", "crc32c_generic", "pvpanic_mmio"}

// deviceModules are the drivers that are loaded only where their device is: of virtio, by device type (virtio 1.2 section 5).
var deviceModules = map[uint16]string{1: "virtio_net", 5: "virtio_balloon", 19: "vmw_vsock_virtio_transport", 26: "virtiofs"}

// PCI identity of virtio devices (virtio 1.2 section 4.1.2).
const (
	virtioVendor = 0x1af4
	virtioDevice = 0x1040 // plus the device type
)

// Default returns the guest that opts choose, from the cache or else fetched and built.
func Default(ctx context.Context, opts Options) (Image, error) {
	p, err := opts.parts(ctx)
	if err != nil {
		return Image{}, err
	}
	key, err := p.key()
	if err != nil {
		return Image{}, err
	}
	path, err := initrd.Cached(filepath.Join(opts.CacheDir, "guest"), "initrd", key, func(out io.Writer) error {
		if opts.Progress != nil {
			fmt.Fprintf(opts.Progress, "usui: build the default guest with kernel %s\n", p.kernel.Release)
		}
		return p.write(ctx, out)
	})
	if err != nil {
		return Image{}, err
	}
	return Image{Kernel: p.kernel.Image, Initrd: path, KernelRelease: p.kernel.Release}, nil
}

// parts are the files that an image is made of.
type parts struct {
	arch          string
	kernel        debian.Kernel
	busybox, init string
}

// parts finds or fetches them, and fills in what opts leave out.
func (opts *Options) parts(ctx context.Context) (parts, error) {
	var err error
	if opts.Kernel == "" {
		opts.Kernel = "cloud"
	}
	if opts.Arch == "" {
		opts.Arch = runtime.GOARCH
	}
	if opts.CacheDir == "" {
		if opts.CacheDir, err = debian.Dir(); err != nil {
			return parts{}, err
		}
	}
	p := parts{arch: opts.Arch, init: opts.Init}
	if p.init == "" {
		if p.init, err = FindInit(opts.Arch); err != nil {
			return parts{}, err
		}
	}
	cache := debian.Open(debian.Config{Dir: opts.CacheDir, Progress: opts.Progress})
	if p.kernel, err = cache.Kernel(ctx, opts.Kernel, opts.Arch); err != nil {
		return parts{}, err
	}
	p.busybox, err = cache.Busybox(ctx, opts.Arch)
	return p, err
}

// key is the same for the same parts. A package is known by its version, which the folder it lies in names.
func (p parts) key() (string, error) {
	init, err := initrd.KeyOfFile(p.init)
	if err != nil {
		return "", err
	}
	return initrd.Key(layout, p.arch, p.kernel.ID, p.busybox, init, strings.Join(modules[:], " "), fmt.Sprint(deviceModules)), nil
}

// write writes the initramfs.
func (p parts) write(ctx context.Context, out io.Writer) error {
	available, err := initrd.OpenModules(ctx, p.kernel.Dir, p.kernel.Release)
	if err != nil {
		return err
	}
	// A kernel without one of them may do without: crc32c_generic is gone in some, and pvpanic_mmio in older ones.
	var wanted []string
	for _, name := range modules {
		if available.Has(name) {
			wanted = append(wanted, name)
		}
	}
	files, err := available.Closure(wanted...)
	if err != nil {
		return fmt.Errorf("kernel %s: %w", p.kernel.Release, err)
	}
	init, err := os.ReadFile(p.init)
	if err != nil {
		return err
	}
	w := initrd.NewWriter(out)
	w.Char("dev/console", 0o600, 5, 1)
	w.File("init", 0o755, init)
	if err := AddBusybox(w, p.busybox); err != nil {
		return err
	}
	addSystem(w)
	if err := w.Modules(available, files); err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(deviceModules)) {
		if !available.Has(deviceModules[kind]) {
			continue
		}
		files, err := available.Closure(deviceModules[kind])
		if err != nil {
			return fmt.Errorf("kernel %s: %w", p.kernel.Release, err)
		}
		if err := w.DeviceModules(available, virtioVendor, virtioDevice+kind, files); err != nil {
			return err
		}
	}
	return w.Close()
}

// addSystem adds what programs expect to find on any Linux.
func addSystem(w *initrd.Writer) {
	w.Dir("root", 0o700)
	w.Dir("mnt", 0o755)
	w.File("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	w.File("etc/group", 0o644, []byte("root:x:0:\ntty:x:5:\n"))
	w.File("etc/hosts", 0o644, []byte("127.0.0.1 localhost usui\n::1 localhost\n"))
}
