package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"usui/internal/attach"
	"usui/internal/debian"
	"usui/internal/pid1/wire"
)

// Mount tags of the 9p exports.
const (
	hostTag    = "host"
	resultsTag = "results"
)

// Where things are inside. newRoot is the host's file system before it becomes the root; on a processor of another kind the
// initramfs stays the root and the host's file system remains at hostRoot.
const (
	newRoot      = "/newroot"
	hostRoot     = "/host"
	guestResults = "/run/usui/results"
	mergedTmp    = overlayTmp + "/merged"
)

// commonOptions of the 9p exports. cache=mmap is the least that programs can be run from. The host's files are cached for good
// instead: looking up a path is several times faster so, and a lab that does not see what changes on the host while it runs is
// no worse.
const (
	commonOptions  = "trans=virtio,version=9p2000.L,msize=1048576"
	hostOptions    = commonOptions + ",cache=loose,ro"
	resultsOptions = commonOptions + ",cache=mmap"
)

// steps are what the guest does to get from its initramfs to the host's file system. paths are what the command and its
// environment name: those that lie in the host's /tmp are made visible in the lab's.
func (cfg Config) steps(k debian.Kernel, paths []string) ([]attach.Step, error) {
	host := cfg.mountPoint()
	steps := append([]attach.Step{wire.Mount("9p", hostTag, host, hostOptions)}, cfg.cpuSteps()...)
	if cfg.runsHostPrograms() {
		steps = append(steps, tmpSteps(paths)...)
	}
	modules, err := cfg.moduleSteps(k)
	if err != nil {
		return nil, err
	}
	steps = append(steps, modules...)
	if cfg.Results != "" {
		steps = append(steps, wire.Mount("9p", resultsTag, guestResults, resultsOptions))
	}
	disks, err := cfg.diskSteps()
	if err != nil {
		return nil, err
	}
	steps = append(steps, disks...)
	if cfg.runsHostPrograms() {
		steps = append(steps, wire.Root(host))
	}
	return steps, nil
}

// mountPoint is where the initramfs mounts the host's file system.
func (cfg Config) mountPoint() string {
	if cfg.runsHostPrograms() {
		return newRoot
	}
	return hostRoot
}

// tmpSteps makes the entries of the host's /tmp that paths lead through visible in the lab's /tmp. Changes to them stay in memory.
func tmpSteps(paths []string) []attach.Step {
	var steps []attach.Step
	seen := map[string]bool{}
	for _, path := range paths {
		rest, inTmp := strings.CutPrefix(filepath.Clean(path), "/tmp/")
		if !inTmp {
			continue
		}
		entry, _, _ := strings.Cut(rest, "/")
		if _, err := os.Stat("/tmp/" + entry); err != nil || seen[entry] {
			continue // an argument that only looks like a path of the host's
		}
		seen[entry] = true
		if len(steps) == 0 {
			steps = append(steps, overlay(newRoot+"/tmp", mergedTmp, overlayTmp))
		}
		steps = append(steps, wire.Bind(mergedTmp+"/"+entry, "/tmp/"+entry))
	}
	return steps
}

// moduleSteps puts the kernel's modules at /lib/modules, for modprobe. Hosts without a kernel package have no such folder: then the
// folder above gets an overlay, in which it can be made.
func (cfg Config) moduleSteps(k debian.Kernel) ([]attach.Step, error) {
	source, err := absolute(filepath.Join(k.Dir, "lib/modules", k.Release))
	if err != nil {
		return nil, err
	}
	source = cfg.mountPoint() + source
	if !cfg.runsHostPrograms() {
		return []attach.Step{wire.Bind(source, "/lib/modules/"+k.Release)}, nil
	}
	lib, err := filepath.EvalSymlinks("/lib")
	if err != nil {
		return nil, err
	}
	place := overlay(newRoot+lib, newRoot+lib, overlayLib)
	if info, err := os.Stat(lib + "/modules"); err == nil && info.IsDir() {
		place = wire.Mount("tmpfs", "modules", newRoot+lib+"/modules", "mode=0755")
	}
	return []attach.Step{place, wire.Bind(source, newRoot+lib+"/modules/"+k.Release)}, nil
}

// cpuSteps bring the CPUs online, after what makes the kernel change its own code has been done on one of them. QEMU's threads see such
// changes out of order: one runs into the breakpoint that another has just removed, and the kernel dies of it.
func (cfg Config) cpuSteps() []attach.Step {
	if cfg.Arch != "amd64" {
		return nil
	}
	steps := []attach.Step{wire.HoldKVM()}
	for n := 1; n < cfg.CPUs; n++ {
		steps = append(steps, wire.Write(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", n), "1"))
	}
	if cfg.CPUs > 1 {
		steps = append(steps, wire.Heartbeat())
	}
	return steps
}

// overlay mounts lower at target, with changes in the folders that the initramfs has below upper.
func overlay(lower, target, upper string) attach.Step {
	return wire.Mount("overlay", "overlay", target, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, upper, upper))
}

// diskSteps puts each disk at the path of its file.
func (cfg Config) diskSteps() ([]attach.Step, error) {
	var steps []attach.Step
	for i, d := range cfg.Disks {
		path, err := absolute(d.Path)
		if err != nil {
			return nil, err
		}
		node := fmt.Sprintf("/dev/vd%c", 'a'+i)
		steps = append(steps, wire.Wait(node), wire.Bind(node, cfg.beforeRoot(path)))
	}
	return steps, nil
}

// beforeRoot is where a path of the host lies before the root is changed: some folders of the initramfs move along.
func (cfg Config) beforeRoot(path string) string {
	if !cfg.runsHostPrograms() {
		return hostRoot + path
	}
	for _, moved := range []string{"/dev/", "/proc/", "/sys/", "/run/", "/tmp/"} {
		if strings.HasPrefix(path, moved) {
			return path
		}
	}
	return newRoot + path
}

// inside is where a path that a command line names is to be found when the command runs.
func (cfg Config) inside(path string) string {
	if cfg.runsHostPrograms() || !filepath.IsAbs(path) {
		return path
	}
	return hostRoot + path
}

// programInside is inside for a program: one that the host has at an absolute path. Others, such as /bin/sh on a processor of
// another kind, are the initramfs's own.
func (cfg Config) programInside(path string) string {
	if isProgram(path, cfg.Arch) {
		return cfg.inside(path)
	}
	return path
}

// workingDir is the folder in which this process is.
func workingDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", errors.New("the working directory is gone: change to another one")
	}
	return dir, nil
}
