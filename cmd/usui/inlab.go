package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"usui/internal/cli"
	"usui/internal/guestimage"
	"usui/internal/lab"
)

// labOverhead is the memory that a lab needs beside the guest's: its kernel, the monitor, and room for page tables.
const labOverhead = 1 << 30

// inLab runs the same command inside a lab. What the guest needs is fetched and built here first: inside there is no network and the
// cache is read-only.
func (o *runOptions) inLab(ctx context.Context, env *cli.Env) error {
	cfg := lab.Config{MemoryBytes: int64(o.memory) + labOverhead, CPUs: min(max(2, o.cpus), max(2, runtime.NumCPU())), Progress: env.Stderr}
	for _, p := range o.parts() {
		if err := p.prepareLab(&cfg); err != nil {
			return err
		}
	}
	argv, err := o.argv()
	if err != nil {
		return err
	}
	if o.kernel == "" {
		if err := o.fetch(ctx, env); err != nil {
			return err
		}
	}
	return runInLab(ctx, env, cfg, lab.Command{Argv: argv})
}

// argv is this call again, for a host whose KVM works.
func (o *runOptions) argv() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := []string{self, "run", "--no-lab", "--cpus", strconv.Itoa(o.cpus), "--memory", o.memory.String(), "--guest", o.guest}
	for name, value := range map[string]string{"--kernel": o.kernel, "--initrd": o.initrd, "--cmdline": o.cmdline} {
		if value != "" {
			argv = append(argv, name, value)
		}
	}
	if o.json {
		argv = append(argv, "--json")
	}
	for _, p := range o.parts() {
		argv = append(argv, p.argv()...)
	}
	return append(append(argv, "--"), o.args...), nil
}

// fetch brings what the default guest is made of into the cache.
func (o *runOptions) fetch(ctx context.Context, env *cli.Env) error {
	if _, err := guestimage.Default(ctx, guestimage.Options{Kernel: o.guest, Progress: env.Stderr}); err != nil {
		return fmt.Errorf("default guest: %w", err)
	}
	return nil
}
