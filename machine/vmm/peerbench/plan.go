package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"usui/internal/debian"
	"usui/internal/guestimage"
	"usui/internal/initrd"
)

// gokvmModule and gokvmVersion are the peer that go install builds: the newest version that the module proxy has, which is later
// than its last tag.
const (
	gokvmModule  = "github.com/bobuhiro11/gokvm"
	gokvmVersion = "v0.0.8-0.20231003020000-f53faca69d28"
)

// plan is what the process inside the lab is to do. All paths are the host's, which the lab has too.
type plan struct {
	Usui, QEMU, Gokvm string // programs; Gokvm is empty when there is none
	GokvmError        string // why
	Kernel, Release   string
	Initrd            string // the default guest's
	LoadInitrd        string // the same, with this program and its modules
	Parts             []string
	Rounds            int
	Ops               operations
	Net               netLoads
	Load              string // the host's, before
	From              int    // the first step to do
	Variant           string // of QEMU's disks, the best; empty before it was chosen
}

// prepare gets everything that the lab cannot get: it has no network and cannot write to the cache.
func prepare(ctx context.Context, o options) (plan, error) {
	p := plan{Parts: o.parts, Rounds: o.rounds, Ops: o.ops, Net: o.net, Load: loadAverage()}
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	p.Usui = filepath.Join(filepath.Dir(self), "usui")
	if _, err := os.Stat(p.Usui); err != nil {
		return p, fmt.Errorf("find usui beside this program (make build makes it): %w", err)
	}
	if p.QEMU, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		return p, fmt.Errorf("%w: apt-get install qemu-system-x86", err)
	}
	cache, err := debian.Dir()
	if err != nil {
		return p, err
	}
	cache = filepath.Join(cache, "peerbench")
	if p.Gokvm, err = installGokvm(ctx, cache); err != nil {
		p.GokvmError = err.Error()
	}
	image, err := guestimage.Default(ctx, guestimage.Options{Progress: os.Stderr})
	if err != nil {
		return p, fmt.Errorf("default guest: %w", err)
	}
	p.Kernel, p.Initrd, p.Release = image.Kernel, image.Initrd, image.KernelRelease
	p.LoadInitrd, err = loadImage(ctx, cache, self, image)
	return p, err
}

// installGokvm builds gokvm into the cache, outside of this repository and its go.mod, unless it is there. go install verifies the
// module against the public checksum database.
func installGokvm(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "gokvm-"+gokvmVersion)
	path := filepath.Join(dir, "gokvm")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "peerbench: install %s@%s\n", gokvmModule, gokvmVersion)
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w", gokvmModule+"@"+gokvmVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Dir = os.TempDir() // no module of ours in sight
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s@%s: %w: %s", gokvmModule, gokvmVersion, err, strings.TrimSpace(string(out)))
	}
	return path, nil
}

// Paths in the initramfs of the loads.
const (
	loadInit    = "/peerbench"
	loadModules = "/" + initrd.ModuleList
)

// loadImage is the default guest's initramfs and behind it an archive with this program and the modules of both transports of
// virtio. The kernel unpacks one after the other.
func loadImage(ctx context.Context, cache, self string, image guestimage.Image) (string, error) {
	key, err := initrd.KeyOfFile(self)
	if err != nil {
		return "", err
	}
	return initrd.Cached(cache, "load", initrd.Key(key, image.Initrd, image.Kernel), func(out io.Writer) error {
		base, err := os.ReadFile(image.Initrd)
		if err != nil {
			return err
		}
		if _, err := out.Write(base); err != nil {
			return err
		}
		program, err := os.ReadFile(self)
		if err != nil {
			return err
		}
		root := filepath.Dir(filepath.Dir(image.Kernel)) // of the unpacked package
		modules, err := initrd.OpenModules(ctx, root, image.KernelRelease)
		if err != nil {
			return err
		}
		files, err := modules.Closure("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net")
		if err != nil {
			return err
		}
		w := initrd.NewWriter(out)
		w.File(loadInit, 0o755, program)
		if err := w.Modules(modules, files); err != nil {
			return err
		}
		return w.Close()
	})
}

// kernelRelease is that of the running kernel.
func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", errors.Join(errors.New("uname"), err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
