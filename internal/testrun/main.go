package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options is what the command line chose.
type options struct {
	usui     string // the built program, which "make test" makes first
	tiers    []string
	bench    bool
	long     bool
	silence  time.Duration // how long a lab may run without a function of a test beginning or ending
	packages []string      // import patterns, such as ./...
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	heedSignals()
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) { // package flag has printed the help
			fmt.Fprintf(os.Stderr, "testrun: %v\n", err)
		}
		os.Exit(2)
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "testrun: %v\n", err)
		os.Exit(1)
	}
}

// heedSignals gives what this process starts the usual dispositions of signals. Under nohup, or behind an & of a shell that is no
// terminal's, some are ignored, which is inherited: a shell that a test starts could not even catch them.
func heedSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // nobody listens: for us it stays ignored
		}
	}
}

func parse(args []string) (options, error) {
	o := options{usui: "bin/usui"}
	f := flag.NewFlagSet("testrun", flag.ContinueOnError)
	tiers := f.String("tiers", "host,lab", "comma-separated `list` of the tiers to run")
	name := f.String("name", "", "only the packages of layer/`NAME`, or of the top folder NAME")
	f.BoolVar(&o.bench, "bench", false, "run benchmarks instead of tests")
	f.BoolVar(&o.long, "long", false, "run the long tests (build tag long, TestLong..., TestLabLong...) instead")
	f.DurationVar(&o.silence, "silence", 0, "end a lab in which no test began or ended for this `long` (default 5m, with --long or --bench 1h)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.tiers = strings.Split(*tiers, ",")
	for _, tier := range o.tiers {
		if tier != "host" && tier != "lab" {
			return o, fmt.Errorf("tier %q: there are host and lab", tier)
		}
	}
	if o.bench && o.long {
		return o, errors.New("--bench and --long exclude each other")
	}
	if o.silence == 0 {
		o.silence = 5 * time.Minute
		if o.bench || o.long {
			o.silence = time.Hour
		}
	}
	o.packages = f.Args()
	if *name != "" {
		patterns, err := namedPackages(".", *name)
		if err != nil {
			return o, err
		}
		o.packages = append(o.packages, patterns...)
	}
	if len(o.packages) == 0 {
		o.packages = []string{"./..."}
	}
	return o, nil
}

// namedPackages returns the patterns for what NAME means in "make bench-NAME" and "make test-long-NAME".
func namedPackages(root, name string) ([]string, error) {
	for _, dir := range []string{filepath.Join("layer", name), name} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !info.IsDir() {
			continue
		}
		patterns := []string{"./" + filepath.ToSlash(dir) + "/..."}
		if name == "machine" {
			patterns = append(patterns, "./cmd/usui") // the command run is the machine's
		}
		return patterns, nil
	}
	return nil, fmt.Errorf("%q: there is neither layer/%s nor %s here", name, name, name)
}

func run(ctx context.Context, o options) error {
	mustHave, err := offered(ctx, o.usui)
	if err != nil {
		return err
	}
	if o.bench {
		return runBenchmarks(ctx, o, mustHave)
	}
	began := time.Now()
	all := newResults()
	if slices.Contains(o.tiers, "host") {
		if err := hostTier(ctx, o, mustHave, all); err != nil {
			return err
		}
	}
	if slices.Contains(o.tiers, "lab") {
		if err := labTier(ctx, o, all); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	sum := all.sum(slices.Contains(o.tiers, "lab"))
	sum.print(os.Stdout, time.Since(began))
	if !sum.ok() {
		os.Exit(1) // the table has said why
	}
	return nil
}

// hostTier runs go test over the packages: under the race detector, which long tests do without, for they repeat
// at length what the short ones do under it and would repeat it a tenth as often.
func hostTier(ctx context.Context, o options, mustHave []string, all *results) error {
	args := []string{"test", "-count=1", "-json"}
	if o.long {
		args = append(args, "-tags=long", "-run=^TestLong", "-timeout=3h")
	} else {
		args = append(args, "-race", "-timeout=15m")
	}
	cmd := command(ctx, "go", append(args, o.packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "USUI_MUST_HAVE="+strings.Join(mustHave, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	tier := all.tier("host")
	defer tier.end()
	if err := readEvents(out, tier.add); err != nil {
		return fmt.Errorf("read go test's events: %w", err)
	}
	// The events tell all that a failed status does; without any of them the status is what is left.
	if err := cmd.Wait(); err != nil && tier.packages == 0 {
		return fmt.Errorf("go test %s: %w", strings.Join(o.packages, " "), err)
	}
	return nil
}

// runBenchmarks runs the benchmarks of this machine, then those of the lab.
func runBenchmarks(ctx context.Context, o options, mustHave []string) error {
	if slices.Contains(o.tiers, "host") {
		args := append([]string{"test", "-run=^$", "-bench=^Benchmark([^L]|L[^a]|La[^b])", "-benchmem", "-timeout=1h"}, o.packages...)
		cmd := command(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "USUI_MUST_HAVE="+strings.Join(mustHave, ","))
		cmd.Stdout = os.Stdout
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go test -bench: %w", err)
		}
	}
	if slices.Contains(o.tiers, "lab") {
		return labTier(ctx, o, nil)
	}
	return nil
}

// command returns a process that a cancelled context interrupts rather than kills, so that a lab can take
// its own processes with it.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second // then it is killed
	return cmd
}
