package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
)

// diskPath is the raw file that all guests read: in memory, so that the monitors are compared and not a disk.
const (
	diskPath = "/tmp/peerbench.raw"
	diskMiB  = 256
)

// usuiDisk is the serial number that "usui run" gives its first disk.
const usuiDisk = "usui-0"

// choiceDivisor is how much shorter the runs are that choose between QEMU's variants.
const choiceDivisor = 2

// makeDisk writes a disk of blocks that are not zero.
func makeDisk() error {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*7 + i>>12)
	}
	f, err := os.Create(diskPath)
	if err != nil {
		return err
	}
	defer f.Close()
	for range diskMiB {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Close()
}

// disks boots a guest that reads from disks: all of QEMU's variants with fewer reads, or the one to compare.
func (in *inside) disks(ctx context.Context, r *blkRun) error {
	ops, names := in.plan.Ops, []string{usuiDisk}
	switch {
	case r.Choice:
		ops, names = ops.part(choiceDivisor), qemuVariants()
	case r.Monitor != usui:
		names = []string{cmp.Or(in.plan.Variant, qemuVariants()[0])} // if there was no choice, its record says why
	}
	words := []string{"rdinit=" + loadInit, wordTask + "=" + taskBlk, wordOps + "=" + ops.word(), wordDisks + "=" + strings.Join(names, ",")}
	s := system{kernel: in.plan.Kernel, initrd: in.plan.LoadInitrd, words: strings.Join(words, " ")}
	for _, name := range names {
		s.disks = append(s.disks, disk{path: diskPath, name: name})
	}
	c, err := startChild(in.monitor(r.Monitor), s)
	if err != nil {
		return err
	}
	defer c.stop()
	up, err := c.await(ctx, lineUp, func(s string) bool { return strings.HasSuffix(s, lineUp) })
	if err != nil {
		return err
	}
	r.Up = up.at.Sub(c.began)
	for _, name := range names {
		for range ops.loads() {
			result, err := in.measureLoad(ctx, c, r.Traced)
			if err != nil {
				return err
			}
			result.Disk = name
			r.Loads = append(r.Loads, result)
		}
	}
	return nil
}

// measureLoad follows one load. The guest waits for us before it begins and after it has ended, so that nothing else is counted.
func (in *inside) measureLoad(ctx context.Context, c *child, traced bool) (result loadResult, err error) {
	if _, err := guestLine(ctx, c, lineReady); err != nil {
		return result, err
	}
	before, err := readCounters(debugKVM, in.idle)
	if err != nil {
		return result, err
	}
	calls := func() (uint64, error) { return 0, nil }
	if traced {
		if calls, err = countCalls(c.pid()); err != nil {
			return result, err
		}
	}
	if err := goOn(c); err != nil {
		return result, err
	}
	if _, err := guestLine(ctx, c, lineEnd); err != nil {
		return result, err
	}
	if result.Calls, err = calls(); err != nil {
		return result, err
	}
	after, err := readCounters(debugKVM, in.idle)
	if err != nil {
		return result, err
	}
	if err := goOn(c); err != nil {
		return result, err
	}
	text, err := guestLine(ctx, c, lineCount)
	if err != nil {
		return result, err
	}
	result.Exits = after.minus(before)
	return result, json.Unmarshal([]byte(text), &result.loadCount)
}

// guestLine waits for a line of the guest's and returns what follows prefix in it.
func guestLine(ctx context.Context, c *child, prefix string) (string, error) {
	l, err := c.await(ctx, prefix, func(s string) bool {
		return strings.HasPrefix(s, prefix) && (prefix != lineEnd || s == lineEnd) || strings.HasPrefix(s, lineError)
	})
	if err != nil {
		return "", err
	}
	rest, found := strings.CutPrefix(l.text, prefix)
	if !found {
		return "", errors.New(l.text)
	}
	return rest, nil
}

// goOn lets the guest go on.
func goOn(c *child) error {
	_, err := c.stdin.Write([]byte("\n"))
	return err
}

// bestVariant is the disk with the highest rates: the greatest geometric mean over the loads.
func bestVariant(loads []loadResult) string {
	scores := map[string]float64{}
	best := ""
	for _, l := range loads {
		scores[l.Disk] += math.Log(l.rate())
	}
	for _, l := range loads {
		if best == "" || scores[l.Disk] > scores[best] {
			best = l.Disk
		}
	}
	return best
}

// rate is reads per second.
func (l loadCount) rate() float64 { return float64(l.Ops) / max(l.Time.Seconds(), 1e-9) }
