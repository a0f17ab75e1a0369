package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"usui/internal/cli"
	"usui/layer/bench/report"
)

// Command is "usui bench".
var Command = cli.Command{
	Name:  "bench",
	Usage: "[--list] [--run REGEXP] [--duration D] [--launches N] [--json|--html] | --show [--html] REPORT.json | --compare [--force] [--fail] [--json|--html] OLD.json NEW.json",
	Short: "measure what CPU virtualization costs on this machine",
	Long: `
Runs guests of a few instructions on KVM and times what each thing costs that a guest needs KVM for: exits, port and memory
accesses, page faults, interrupts, and the calls that a virtual machine monitor is made of. All of it takes less than a minute.

  usui bench
  usui bench --run 'port|cpuid' --duration 5s
  usui bench --json > before.json
  usui bench --compare before.json after.json
  usui bench --show --html before.json > before.html

Each case runs in several fresh virtual machines, because they differ more among each other than the samples of one do; the
intervals hold both. KVM's own statistics must have counted as many exits as the case claims, else it is an error. What this KVM
cannot do is "n/a" with the reason.

A comparison calls a row slower or faster only when the intervals do not overlap, and refuses runs of fewer than four machines a
case, or during which a hypervisor took more than 1 % of the time away, or that come from different computers, unless --force is
given.

A page of --html is one file without scripts that needs no network, as for a ticket: what the report was made on, plots of all
medians or ratios, and all rows, each with its histogram.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		c := options{flags: f}
		f.BoolVar(&c.list, "list", false, "list the cases and what each does")
		f.StringVar(&c.run, "run", "", "measure only cases whose name matches `REGEXP`")
		f.DurationVar(&c.duration, "duration", DefaultDuration, "measure each case for `TIME`, all machines together")
		f.IntVar(&c.launches, "launches", DefaultLaunches, "measure each case in `N` fresh machines")
		f.BoolVar(&c.json, "json", false, "print the report, or the comparison, as JSON")
		f.BoolVar(&c.html, "html", false, "print the report, or the comparison, as a page of HTML with plots")
		f.BoolVar(&c.show, "show", false, "print a report that --json made, instead of measuring")
		f.BoolVar(&c.compare, "compare", false, "compare two reports that --json made")
		f.BoolVar(&c.force, "force", false, "compare what should not be compared; the reasons are printed")
		f.BoolVar(&c.fail, "fail", false, "end a comparison with status 1 if a row is slower, as for CI")
		return c.main
	},
}

type options struct {
	flags *flag.FlagSet

	list, json, html, show, compare, force, fail bool
	run                                          string
	duration                                     time.Duration
	launches                                     int
}

func (o *options) main(ctx context.Context, env *cli.Env, args []string) error {
	if o.json && o.html {
		return cli.UsageError("--json and --html exclude each other")
	}
	if o.show && o.compare {
		return cli.UsageError("--show and --compare exclude each other")
	}
	if err := o.meaningless(); err != nil {
		return err
	}
	if o.show {
		return o.showFile(ctx, env.Stdout, args)
	}
	if o.compare {
		return o.compareFiles(ctx, env.Stdout, env.Stderr, args)
	}
	cases, err := o.selected(args)
	if err != nil {
		return err
	}
	if o.list {
		return list(env.Stdout, cases)
	}
	r, failed := Run(ctx, Config{Cases: cases, Duration: o.duration, Launches: o.launches, Progress: progress(env.Stderr)})
	if len(r.Rows) == 0 && failed != nil {
		return failed
	}
	if err := o.print(env.Stdout, r); err != nil {
		return err
	}
	return failed
}

// meaningless finds a flag that has no effect beside the others.
func (o *options) meaningless() (err error) {
	what, flags := "a measurement", "run duration launches json html"
	switch {
	case o.compare:
		what, flags = "--compare", "compare force fail json html"
	case o.show:
		what, flags = "--show", "show json html"
	case o.list:
		what, flags = "--list", "list run"
	}
	o.flags.VisitAll(func(f *flag.Flag) {
		if err == nil && f.Value.String() != f.DefValue && !slices.Contains(strings.Fields(flags), f.Name) {
			err = cli.UsageError("--%s means nothing to %s", f.Name, what)
		}
	})
	return err
}

// selected returns the cases to measure.
func (o *options) selected(args []string) ([]Case, error) {
	if len(args) > 0 {
		return nil, cli.UsageError("unexpected argument %q", args[0])
	}
	if o.duration <= 0 || o.launches < 1 || o.launches > 100 {
		return nil, cli.UsageError("--duration %v --launches %d: want more than no time, and 1 to 100 machines", o.duration, o.launches)
	}
	match, err := regexp.Compile(o.run)
	if err != nil {
		return nil, cli.UsageError("--run %q: %v", o.run, err)
	}
	var selected []Case
	for _, c := range Cases() {
		if match.MatchString(c.Name) {
			selected = append(selected, c)
		}
	}
	if len(Cases()) == 0 {
		return nil, fmt.Errorf("there are no cases for %s yet", runtime.GOARCH)
	}
	if len(selected) == 0 {
		return nil, cli.UsageError("--run %q: no case has such a name; see --list", o.run)
	}
	return selected, nil
}

func list(w io.Writer, cases []Case) error {
	for _, c := range cases {
		if _, err := fmt.Fprintf(w, "%-22s %-13s %s\n", c.Name, c.Group, c.Doc); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) print(w io.Writer, r report.Report) error {
	switch {
	case o.json:
		return r.Write(w)
	case o.html:
		return r.WriteHTML(w)
	}
	return r.Print(w, width(w))
}

func (o *options) showFile(ctx context.Context, w io.Writer, args []string) error {
	if len(args) != 1 {
		return cli.UsageError("--show takes one file, not %d, behind all flags", len(args))
	}
	r, err := readFile(ctx, args[0])
	if err != nil {
		return err
	}
	return o.print(w, r)
}

func (o *options) compareFiles(ctx context.Context, w, stderr io.Writer, args []string) error {
	if len(args) != 2 {
		return cli.UsageError("--compare takes two files, not %d, behind all flags", len(args))
	}
	var reports [2]report.Report
	for i, name := range args {
		var err error
		if reports[i], err = readFile(ctx, name); err != nil {
			return err
		}
	}
	c, err := report.Compare(reports[0], reports[1])
	if refusal, ok := errors.AsType[*report.Refusal](err); ok && o.force {
		fmt.Fprintf(stderr, "compared, although %s\n", strings.Join(refusal.Reasons, "; "))
	} else if err != nil {
		return err
	}
	if err := o.printComparison(w, c); err != nil || !o.fail {
		return err
	}
	var slower []string
	for _, row := range c.Rows {
		if row.Verdict == report.Slower {
			slower = append(slower, row.Name)
		}
	}
	if len(slower) > 0 {
		return fmt.Errorf("slower: %s", strings.Join(slower, ", "))
	}
	return nil
}

func (o *options) printComparison(w io.Writer, c report.Comparison) error {
	switch {
	case o.json:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(c)
	case o.html:
		return c.WriteHTML(w)
	}
	return c.Print(w)
}

// readFile reads a report. The file may be a pipe to which nobody writes, so the wait ends with ctx.
func readFile(ctx context.Context, name string) (report.Report, error) {
	type outcome struct {
		report.Report
		err error
	}
	read := make(chan outcome, 1)
	go func() { // ends with the program, if the pipe does not
		file, err := os.Open(name)
		if err != nil {
			read <- outcome{err: err}
			return
		}
		defer file.Close()
		r, err := report.Read(file)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		read <- outcome{r, err}
	}()
	select {
	case got := <-read:
		return got.Report, got.err
	case <-ctx.Done():
		return report.Report{}, ctx.Err()
	}
}
