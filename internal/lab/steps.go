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

// Where things are inside. newRoot is the host's file system before it becomes the root.
const (
	newRoot      = "/newroot"
	guestResults = "/run/usui/results"
	mergedTmp    = overlayTmp + "/merged"
)

// mountOptions of the 9p exports. cache=mmap is the least that programs can be run from; a lab does not see changes that the
// host makes to a file while the lab has it open.
const mountOptions = "trans=virtio,version=9p2000.L,msize=1048576,cache=mmap"

// steps are what the guest does to get from its initramfs to the host's file system. paths are what the command names: those that
// lie in the host's /tmp are made visible in the lab's.
func (cfg Config) steps(k debian.Kernel, paths []string) ([]attach.Step, error) {
	steps := []attach.Step{wire.Mount("9p", hostTag, newRoot, mountOptions+",ro")}
	tmp, err := tmpSteps(paths)
	if err != nil {
		return nil, err
	}
	steps = append(steps, tmp...)
	lib, err := libSteps(k)
	if err != nil {
		return nil, err
	}
	steps = append(steps, lib...)
	if cfg.Results != "" {
		steps = append(steps, wire.Mount("9p", resultsTag, guestResults, mountOptions))
	}
	disks, err := cfg.diskSteps()
	if err != nil {
		return nil, err
	}
	steps = append(steps, disks...)
	return append(steps, wire.Root(newRoot)), nil
}

// tmpSteps makes the entries of the host's /tmp that paths lead through visible in the lab's /tmp. Changes to them stay in memory.
func tmpSteps(paths []string) ([]attach.Step, error) {
	var steps []attach.Step
	seen := map[string]bool{}
	for _, path := range paths {
		rest, inTmp := strings.CutPrefix(filepath.Clean(path), "/tmp/")
		if !inTmp {
			continue
		}
		entry, _, _ := strings.Cut(rest, "/")
		if _, err := os.Stat("/tmp/" + entry); err != nil || seen[entry] {
			continue
		}
		seen[entry] = true
		if len(steps) == 0 {
			steps = append(steps, overlay(newRoot+"/tmp", mergedTmp, overlayTmp))
		}
		steps = append(steps, wire.Bind(mergedTmp+"/"+entry, "/tmp/"+entry))
	}
	return steps, nil
}

// libSteps puts the kernel's modules at /lib/modules, for modprobe. Hosts without a kernel package have no such folder: then the
// folder above gets an overlay, in which it can be made.
func libSteps(k debian.Kernel) ([]attach.Step, error) {
	lib, err := filepath.EvalSymlinks("/lib")
	if err != nil {
		return nil, err
	}
	source, err := absolute(filepath.Join(k.Dir, "lib/modules", k.Release))
	if err != nil {
		return nil, err
	}
	modules := newRoot + lib + "/modules"
	var steps []attach.Step
	if info, err := os.Stat(lib + "/modules"); err == nil && info.IsDir() {
		steps = append(steps, wire.Mount("tmpfs", "modules", modules, "mode=0755"))
	} else {
		steps = append(steps, overlay(newRoot+lib, newRoot+lib, overlayLib))
	}
	return append(steps, wire.Bind(newRoot+source, modules+"/"+k.Release)), nil
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
		steps = append(steps, wire.Wait(node), wire.Bind(node, beforeRoot(path)))
	}
	return steps, nil
}

// beforeRoot is where a path of the final root lies before the root is changed: some folders of the initramfs move along.
func beforeRoot(path string) string {
	for _, moved := range []string{"/dev/", "/proc/", "/sys/", "/run/", "/tmp/"} {
		if strings.HasPrefix(path, moved) {
			return path
		}
	}
	return newRoot + path
}

// workingDir is the folder in which the command starts: the one of this process.
func workingDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", errors.New("the working directory is gone: change to another one")
	}
	return dir, nil
}
