package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/physmem"
)

// runTimeout bounds one run of one monitor, in the lab's time. Nothing that works takes half of it.
const runTimeout = 2 * time.Minute

// inside is the process in the lab.
type inside struct {
	plan  plan
	out   *json.Encoder
	began time.Time
	idle  []string // folders of machines that are not ours
}

func insideMain(ctx context.Context, text string) error {
	in := &inside{out: json.NewEncoder(os.Stdout), began: time.Now()}
	if err := json.Unmarshal([]byte(text), &in.plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	for fstype, target := range map[string]string{"debugfs": "/sys/kernel/debug", "tracefs": "/sys/kernel/tracing"} {
		if err := unix.Mount(fstype, target, fstype, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s at %s: %w", fstype, target, err)
		}
	}
	var err error
	if in.idle, err = machinesIn(debugKVM); err != nil {
		return err
	}
	info, err := in.describe(ctx)
	if err != nil {
		return err
	}
	if err := in.emit(record{Lab: &info}); err != nil {
		return err
	}
	if err := makeDisk(); err != nil {
		return err
	}
	steps := in.plan.steps()
	for i, s := range steps[in.plan.From:] {
		rec := in.do(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fmt.Fprintf(os.Stderr, "peerbench: %4.0f s: %d of %d: %s\n", time.Since(in.began).Seconds(), in.plan.From+i+1, len(steps), rec.brief())
		if err := in.emit(rec); err != nil {
			return err
		}
	}
	return in.emit(record{Done: true})
}

// do carries out one step, a second time if it fails: the lab's processor now and then ends a guest of whatever monitor. What goes
// wrong is in the record.
func (in *inside) do(ctx context.Context, s step) record {
	rec, before := in.try(ctx, s), ""
	if _, r := rec.run(); r.Error != "" && ctx.Err() == nil {
		before = r.Error
		rec = in.try(ctx, s)
	}
	rec.shared().Before = before
	return rec
}

// try carries out one step once.
func (in *inside) try(ctx context.Context, s step) record {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, fmt.Errorf("nothing after %v", runTimeout))
	defer cancel()
	r := run{Monitor: s.monitor, Round: s.round, Traced: s.traced}
	var err error
	switch s.part {
	case partBoot:
		b := &bootRun{run: r}
		err = in.boot(ctx, b)
		b.fail(err)
		return record{Boot: b}
	case partPhases:
		p := &phasesRun{run: r}
		err = in.phases(ctx, p)
		p.fail(err)
		return record{Phases: p}
	case partNet:
		n := &netRun{run: r}
		err = in.network(ctx, n)
		n.fail(err)
		return record{Net: n}
	default:
		b := &blkRun{run: r, Choice: s.choice}
		err = in.disks(ctx, b)
		b.fail(err)
		if s.choice {
			in.plan.Variant = bestVariant(b.Loads)
		}
		return record{Blk: b}
	}
}

// emit hands a record to the process outside.
func (in *inside) emit(r record) error {
	r.At = time.Since(in.began)
	return in.out.Encode(r)
}

// monitor finds one by its name.
func (in *inside) monitor(name string) monitor {
	switch name {
	case usui:
		return usuiMonitor(in.plan.Usui)
	case usuiVhost:
		return usuiMonitor(in.plan.Usui)
	case gokvm:
		return gokvmMonitor(in.plan.Gokvm, gokvmWords(cpuInfo("cpu MHz")))
	}
	return qemuMonitor(in.plan.QEMU, name)
}

// describe says where this is. It also reads all files once, so that no first round pays for the lab's own file system.
func (in *inside) describe(ctx context.Context) (labInfo, error) {
	info := labInfo{CPU: cpuInfo("model name"), CPUs: runtime.NumCPU(), GokvmWords: gokvmWords(cpuInfo("cpu MHz"))}
	info.HugePages = fmt.Sprintf("%s, shared %s", chosen("enabled"), chosen("shmem_enabled"))
	var err error
	if info.MemoryBytes, err = physmem.Total(); err != nil {
		return info, err
	}
	if info.Kernel, err = kernelRelease(); err != nil {
		return info, err
	}
	if info.Usui, err = firstLine(ctx, in.plan.Usui, "version"); err != nil {
		return info, err
	}
	if info.QEMU, err = firstLine(ctx, in.plan.QEMU, "--version"); err != nil {
		return info, err
	}
	for _, path := range []string{in.plan.Usui, in.plan.QEMU, in.plan.Gokvm, in.plan.Kernel, in.plan.Initrd, in.plan.LoadInitrd} {
		if err := warm(path); err != nil {
			return info, err
		}
	}
	return info, nil
}

// chosen is the word in brackets in a setting for huge pages (Documentation/admin-guide/mm/transhuge.rst).
func chosen(setting string) string {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/" + setting)
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(text), "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// warm reads a file, if there is a path, and forgets it.
func warm(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

func firstLine(ctx context.Context, program string, arg string) (string, error) {
	out, err := exec.CommandContext(ctx, program, arg).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, arg, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first, nil
}

// cpuInfo is what /proc/cpuinfo says under a name of the first processor.
func cpuInfo(wanted string) string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for l := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == wanted {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
