package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// disks compares reads from a disk between usui and the best that QEMU has.
func (in *inside) disks(ctx context.Context) error {
	if err := makeDisk(); err != nil {
		return err
	}
	ours, peer := usuiMonitor(in.plan.Usui), qemuMonitor(in.plan.QEMU)
	choice, err := in.disk(ctx, peer, blkRun{Choice: true}, in.plan.Ops.part(choiceDivisor), qemuVariants())
	if err != nil {
		return err
	}
	best := bestVariant(choice.Loads)
	if best == "" {
		best = qemuVariants()[0] // the record says what went wrong
	}
	names := map[string]string{ours.name: usuiDisk, peer.name: best}
	for round := range in.plan.Rounds {
		for _, m := range rotated([]monitor{ours, peer}, round) {
			if _, err := in.disk(ctx, m, blkRun{run: run{Round: round}}, in.plan.Ops, []string{names[m.name]}); err != nil {
				return err
			}
		}
	}
	return nil
}

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

// disk runs all loads on each of the named disks and emits the record r. Its error is one that ends the benchmark.
func (in *inside) disk(ctx context.Context, m monitor, r blkRun, ops operations, names []string) (blkRun, error) {
	r.Monitor = m.name
	if err := in.runLoads(ctx, m, &r, ops, names); err != nil {
		r.Error = err.Error()
	}
	in.say("blk %d of %d: %s %v %s", r.Round+1, in.plan.Rounds, m.name, names, r.Error)
	if err := in.emit(record{Blk: &r}); err != nil {
		return r, err
	}
	return r, context.Cause(ctx)
}

func (in *inside) runLoads(ctx context.Context, m monitor, r *blkRun, ops operations, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, fmt.Errorf("nothing after %v", runTimeout))
	defer cancel()
	words := []string{"rdinit=" + loadInit, wordTask + "=" + taskBlk, wordOps + "=" + ops.word(), wordDisks + "=" + strings.Join(names, ",")}
	s := system{kernel: in.plan.Kernel, initrd: in.plan.LoadInitrd, words: strings.Join(words, " ")}
	for _, name := range names {
		s.disks = append(s.disks, disk{path: diskPath, name: name})
	}
	c, err := startChild(m, s)
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
			result, err := measureLoad(ctx, c)
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
func measureLoad(ctx context.Context, c *child) (result loadResult, err error) {
	if _, err := guestLine(ctx, c, lineReady); err != nil {
		return result, err
	}
	before, err := readCounters(debugKVM)
	if err != nil {
		return result, err
	}
	if err := goOn(c); err != nil {
		return result, err
	}
	if _, err := guestLine(ctx, c, lineEnd); err != nil {
		return result, err
	}
	after, err := readCounters(debugKVM)
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
