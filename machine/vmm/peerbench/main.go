// Peerbench compares usui with other monitors in one run of the lab: "make bench-machine".
//
// Outside of the lab it gets what is compared (gokvm is built at a fixed version into the cache, QEMU comes with the lab's
// packages) and the guest's images, starts itself inside, and turns the records that come back into tables and bars. Inside it
// starts one monitor at a time, alternating, and watches its serial port, its memory and KVM's counters. As a guest's first
// process it is the load: it reads the kernel's log, or reads from a disk.
//
// Times are seconds of the lab's clock and mean nothing by themselves: an emulated computer is slow, and not evenly so. What
// counts are ratios between monitors of one run, and counts. A run that failed is a record with an error and stands in the table.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// insideWord is the first argument of the process inside the lab; the second is the plan.
const insideWord = "inside"

func main() {
	if os.Getpid() == 1 {
		guestMain()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 3 && os.Args[1] == insideWord {
		err = insideMain(ctx, os.Args[2])
	} else {
		err = outsideMain(ctx, os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2) // package flag has printed the help
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "peerbench: %v\n", err)
		os.Exit(1)
	}
}

// options is what the command line chose.
type options struct {
	rounds  int
	parts   []string
	timeout time.Duration
	json    bool
	ops     operations
	net     netLoads
}

// operations is how many reads of each kind a load does.
type operations struct {
	Random, Deep, Sequential int
}

// parts of the benchmark, in their order.
const (
	partBoot   = "boot"
	partPhases = "phases"
	partBlk    = "blk"
	partNet    = "net"
)

// allParts in their order.
var allParts = []string{partBoot, partPhases, partBlk, partNet}

func parseOptions(args []string) (options, error) {
	o := options{}
	f := flag.NewFlagSet("peerbench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "`number` of runs of each monitor")
	parts := f.String("parts", strings.Join(allParts, ","), "comma-separated `list` of what to do")
	f.DurationVar(&o.timeout, "timeout", 40*time.Minute, "end after this `time`")
	f.BoolVar(&o.json, "json", false, "print the report, with all records, as JSON")
	f.IntVar(&o.ops.Random, "random", 1000, "`number` of 4 KiB reads, one at a time")
	f.IntVar(&o.ops.Deep, "deep", 4000, "`number` of 4 KiB reads, 32 at a time")
	f.IntVar(&o.net.MiB, "stream", 32, "`MiB` that a TCP stream carries each way")
	f.IntVar(&o.net.RoundTrips, "roundtrips", 1000, "`number` of requests of 64 bytes with an answer")
	f.IntVar(&o.ops.Sequential, "sequential", 256, "`number` of 1 MiB reads")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.parts = strings.Split(*parts, ",")
	for _, p := range o.parts {
		if !slices.Contains(allParts, p) {
			return o, fmt.Errorf("part %q: there are %s", p, strings.Join(allParts, ", "))
		}
	}
	if o.rounds < 1 || o.ops.Random < 1 || o.ops.Deep < 1 || o.ops.Sequential < 1 || o.net.MiB < 1 || o.net.RoundTrips < 1 {
		return o, errors.New("numbers of rounds, reads and bytes must be positive")
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q: peerbench takes flags only", f.Arg(0))
	}
	return o, nil
}

func outsideMain(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	p, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	records, crashes, labErr := runLabs(ctx, o, p)
	r := newReport(p, records)
	r.Crashes = append(r.Crashes, crashes...)
	if o.json {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		err = r.print(os.Stdout)
	}
	return errors.Join(err, labErr, r.verdict())
}
