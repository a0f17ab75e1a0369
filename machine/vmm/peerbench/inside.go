package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/pid1"
)

// runTimeout bounds one run of one monitor, in the lab's time.
const runTimeout = 4 * time.Minute

// inside is the process in the lab.
type inside struct {
	plan  plan
	out   *json.Encoder
	began time.Time
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
	info, err := in.describe(ctx)
	if err != nil {
		return err
	}
	if err := in.emit(record{Lab: &info}); err != nil {
		return err
	}
	for _, part := range in.plan.Parts {
		do := map[string]func(context.Context) error{partBoot: in.boots, partPhases: in.phases, partBlk: in.disks}[part]
		if err := do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return in.emit(record{Done: true})
}

// emit hands a record to the process outside.
func (in *inside) emit(r record) error {
	r.At = time.Since(in.began)
	return in.out.Encode(r)
}

// say tells how far it is.
func (in *inside) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "peerbench: %4.0f s: %s\n", time.Since(in.began).Seconds(), fmt.Sprintf(format, args...))
}

// monitors are those that there are, with extra flags for usui.
func (in *inside) monitors(extra ...string) []monitor {
	list := []monitor{usuiMonitor(in.plan.Usui, extra...), qemuMonitor(in.plan.QEMU)}
	if in.plan.Gokvm != "" {
		list = append(list, gokvmMonitor(in.plan.Gokvm))
	}
	return list
}

// describe says where this is. It also reads all files once, so that no first round pays for the lab's own file system.
func (in *inside) describe(ctx context.Context) (labInfo, error) {
	info := labInfo{CPU: cpuModel(), CPUs: runtime.NumCPU()}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return info, os.NewSyscallError("sysinfo", err)
	}
	info.MemoryBytes = int64(si.Totalram) * int64(si.Unit)
	var err error
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

// cpuModel is the processor as /proc/cpuinfo names it.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for l := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// rotated gives every monitor every place in the order, round by round.
func rotated(list []monitor, round int) []monitor {
	n := round % len(list)
	return slices.Concat(list[n:], list[:n])
}

// boots measures boots of the default guest.
func (in *inside) boots(ctx context.Context) error {
	for round := range in.plan.Rounds {
		for _, m := range rotated(in.monitors(), round) {
			r := bootRun{run: run{Monitor: m.name, Round: round}}
			if err := in.boot(ctx, m, &r); err != nil {
				r.Error = err.Error()
			}
			in.say("boot %d of %d: %s: %.2f s, %d exits %s", round+1, in.plan.Rounds, m.name, r.Up.Seconds(), r.Exits["exits"], r.Error)
			if err := in.emit(record{Boot: &r}); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// boot boots once. The guest's init goes on after its first line, so the monitor is stopped there and looked at.
func (in *inside) boot(ctx context.Context, m monitor, r *bootRun) error {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, fmt.Errorf("nothing after %v", runTimeout))
	defer cancel()
	c, err := startChild(m, system{kernel: in.plan.Kernel, initrd: in.plan.Initrd})
	if err != nil {
		return err
	}
	defer c.stop()
	up, err := c.await(ctx, pid1.Marker, isMarker)
	if err != nil {
		return err
	}
	if err := c.freeze(); err != nil {
		return err
	}
	r.Up = up.at.Sub(c.began)
	var errs [2]error
	r.Exits, errs[0] = readCounters(debugKVM)
	r.Memory, errs[1] = readMemory(c.pid())
	return errors.Join(errs[:]...)
}

// isMarker reports whether a line is init's first.
func isMarker(text string) bool { return strings.HasSuffix(text, pid1.Marker) }
