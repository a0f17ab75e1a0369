package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"usui/internal/debian"
	"usui/internal/guestimage"
	"usui/internal/initrd"
)

// layout is part of the key of cached images: a change of what is in them that the other parts do not show gets a new number.
const layout = "2"

// modules lists what the machine needs before the host's file system, with all other modules, is there, and the drivers of its
// devices: who asked for a device finds it bound.
func (cfg Config) modules() []string {
	list := []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}
	if cfg.Arch == "amd64" {
		list = append(list, "kvm-amd")
	}
	list = append(list, "tun", "loop", "vhost_net", "vhost_vsock", "veth")
	if len(cfg.Disks) > 0 {
		list = append(list, "virtio_blk")
	}
	if len(cfg.NVMe) > 0 {
		list = append(list, "nvme")
	}
	if len(cfg.AHCI) > 0 {
		list = append(list, "ahci", "sd_mod")
	}
	if cfg.E1000E {
		list = append(list, "e1000e")
	}
	if len(cfg.NVDIMM) > 0 {
		list = append(list, "nfit", "nd_pmem", "device_dax", "dax_pmem")
	}
	if cfg.IOMMU {
		list = append(list, "vfio-pci", "vfio_iommu_type1")
	}
	return list
}

// Folders of the initramfs in which overlays keep their changes.
const (
	overlayTmp = "/usui/tmp"
	overlayLib = "/usui/lib"
)

// imageParts are the files that an initramfs is made of.
type imageParts struct {
	kernel  debian.Kernel
	init    string
	busybox string // for a root of its own; empty when the host's file system becomes the root
}

// image returns the initramfs for cfg, from the cache or built.
func (cfg Config) image(ctx context.Context, cacheDir string, p imageParts) (string, error) {
	initKey, err := initrd.KeyOfFile(p.init)
	if err != nil {
		return "", err
	}
	key := initrd.Key(layout, cfg.Arch, p.kernel.ID, initKey, p.busybox, strings.Join(cfg.modules(), " "))
	return initrd.Cached(filepath.Join(cacheDir, "lab"), "initrd", key, func(out io.Writer) error {
		if cfg.Progress != nil {
			fmt.Fprintf(cfg.Progress, "usui: build the lab's initramfs for %s\n", p.kernel.Release)
		}
		return cfg.writeImage(ctx, out, p)
	})
}

func (cfg Config) writeImage(ctx context.Context, out io.Writer, p imageParts) error {
	m, err := initrd.OpenModules(ctx, p.kernel.Dir, p.kernel.Release)
	if err != nil {
		return err
	}
	files, err := m.Closure(cfg.modules()...)
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
	for _, overlay := range []string{overlayTmp, overlayLib} {
		w.Dir(overlay+"/upper", 0o755)
		w.Dir(overlay+"/work", 0o755)
	}
	if p.busybox != "" {
		if err := guestimage.AddBusybox(w, p.busybox); err != nil {
			return err
		}
	}
	if err := w.Modules(m, files); err != nil {
		return err
	}
	return w.Close()
}
