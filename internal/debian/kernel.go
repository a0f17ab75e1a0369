package debian

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Package
	Release string // as "uname -r" says it
	Image   string // path of the file to boot
}

// KernelPackage gives the metapackage of a kind of kernel: "cloud" and "generic" are the release's own kernels, small and large; a
// series such as "6.12" or "6.12-cloud" is a newer one, which Debian keeps beside.
func KernelPackage(kind, arch string) (string, error) {
	switch {
	case kind == "generic":
		return "linux-image-" + arch, nil
	case kind == "cloud":
		return "linux-image-cloud-" + arch, nil
	case isSeries(strings.TrimSuffix(kind, "-cloud")):
		return "linux-image-" + kind + "-" + arch, nil
	}
	return "", fmt.Errorf("kernel kind %q is unknown: use cloud, generic, or a series such as 6.12 or 6.12-cloud", kind)
}

// isSeries reports whether s is MAJOR.MINOR.
func isSeries(s string) bool {
	major, minor, found := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return found && digits(major) && digits(minor)
}

// Kernel returns the kernel of a kind (see [KernelPackage]), from the cache or else the newest one from the archive.
func (c *Cache) Kernel(ctx context.Context, kind, arch string) (Kernel, error) {
	name, err := KernelPackage(kind, arch)
	if err != nil {
		return Kernel{}, err
	}
	p, err := c.Get(ctx, name, arch)
	if err != nil {
		return Kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(p.Dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return Kernel{}, fmt.Errorf("package %s has %d files boot/vmlinuz-*, want 1", p.ID, len(images))
	}
	return Kernel{Package: p, Release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), Image: images[0]}, nil
}

// Busybox returns the path of a static busybox for arch.
func (c *Cache) Busybox(ctx context.Context, arch string) (string, error) {
	p, err := c.Get(ctx, "busybox-static", arch)
	if err != nil {
		return "", err
	}
	return filepath.Join(p.Dir, "bin/busybox"), nil
}
