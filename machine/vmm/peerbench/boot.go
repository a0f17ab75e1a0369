package main

import (
	"context"
	"errors"
	"strings"

	"usui/internal/pid1"
)

// boot boots the default guest. Its init goes on after its first line, so the monitor is stopped there and looked at.
func (in *inside) boot(ctx context.Context, r *bootRun) error {
	c, err := startChild(in.monitor(r.Monitor), system{kernel: in.plan.Kernel, initrd: in.plan.Initrd})
	if err != nil {
		return err
	}
	defer c.stop()
	up, err := c.await(ctx, pid1.Marker, func(text string) bool { return strings.HasSuffix(text, pid1.Marker) })
	if err != nil {
		return err
	}
	if err := c.freeze(); err != nil {
		return err
	}
	r.Up = up.at.Sub(c.began)
	var errs [2]error
	r.Exits, errs[0] = readCounters(debugKVM, in.idle)
	r.Memory, errs[1] = readMemory(c.pid())
	return errors.Join(errs[:]...)
}
