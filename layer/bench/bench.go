package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"usui/layer/bench/report"
	"usui/layer/bench/where"
	"usui/machine/kvm"
)

// Case is one operation that is timed.
type Case struct {
	Name  string // lower-case, words joined by hyphens
	Group string
	Doc   string // what is done, one line

	recipe
}

// Cases returns all cases that this architecture has, in the order of the report.
func Cases() []Case { return cases() }

// Config says what to measure. The zero value measures everything for as long as the defaults say.
type Config struct {
	Device   string         // KVM's; "" is /dev/kvm
	Cases    []Case         // nil is Cases()
	Duration time.Duration  // of one case, all launches together; 0 is DefaultDuration
	Launches int            // fresh machines that each case is measured in; 0 is DefaultLaunches
	Patience time.Duration  // for one batch of operations and for few samples, after which a case is given up; 0 is DefaultPatience
	Progress func(Progress) // called before each launch and at the end; may be nil

	slow string // the host's case that a test makes a fifth slower: it does more operations than it counts
}

// Progress is how far Run is, in launches.
type Progress struct {
	Case        string
	Done, Total int
}

// Defaults of Config.
const (
	DefaultDuration = 400 * time.Millisecond
	DefaultLaunches = 5
	DefaultPatience = 2 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Device == "" {
		c.Device = "/dev/kvm"
	}
	if c.Cases == nil {
		c.Cases = Cases()
	}
	if c.Duration == 0 {
		c.Duration = DefaultDuration
	}
	if c.Launches == 0 {
		c.Launches = DefaultLaunches
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	return c
}

// launched is what one launch of a case has found.
type launched struct {
	method      string
	samples     []float64 // ns
	exits       float64   // an operation
	want        span      // for them
	halves      string    // why exit and entry were not timed apart
	exit, entry []float64 // ns, the halves of the samples
}

// Run measures. The report holds a row for each case that could be measured or that this KVM cannot do. A case that went
// wrong has none: then the error names it, and the report is of use all the same.
func Run(ctx context.Context, cfg Config) (report.Report, error) {
	cfg = cfg.withDefaults()
	h, err := openHost(cfg)
	if err != nil {
		return report.Report{}, err
	}
	defer h.close()
	r := report.Report{Version: report.Version, Started: time.Now(), Duration: cfg.Duration, Launches: cfg.Launches}
	here := where.Host{Software: h.software}
	if r.Where, err = here.Read(ctx); err != nil {
		return report.Report{}, err
	}
	before, err := here.Times()
	if err != nil {
		return report.Report{}, err
	}
	// A collection in the middle of a batch would be measured with it. Run collects between launches.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	failed := h.measureAll(ctx, cfg, &r)
	after, err := here.Times()
	if err != nil {
		return report.Report{}, err
	}
	r.Where.TSCkHz = uint64(max(0, h.tscKHz))
	r.Where.Steal = where.StealBetween(before, after, h.measuredOn()...)
	return r, failed
}

// open opens KVM, or says where to ask for help.
func open(device string) (*kvm.System, error) {
	system, err := kvm.Open(device)
	if err != nil {
		return nil, fmt.Errorf("%w; \"usui doctor\" says what to do", err)
	}
	return system, nil
}

// measureAll adds the rows. Each case is launched once before any is launched again: what changes on a machine from
// one second to the next then differs between the launches of a case, and so widens its intervals, as it should.
func (h *host) measureAll(ctx context.Context, cfg Config, r *report.Report) error {
	found := make([]findings, len(cfg.Cases))
	total := cfg.Launches * len(cfg.Cases)
	defer cfg.Progress(Progress{Done: total, Total: total})
	for round := range cfg.Launches {
		for i, c := range cfg.Cases {
			if found[i].err != nil {
				continue
			}
			cfg.Progress(Progress{c.Name, round*len(cfg.Cases) + i, total})
			runtime.GC()
			one, err := h.launch(ctx, cfg, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			found[i].add(one, err)
		}
	}
	var failed []error
	for i, c := range cfg.Cases {
		row, err := found[i].row(c)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.Name, err))
			continue
		}
		row.Summarize(uint64(i + 1))
		r.Rows = append(r.Rows, row)
	}
	return errors.Join(failed...)
}

// span is how often something may be counted for one operation. Where it is more than a point, processors differ.
type span struct{ low, high float64 }

func exactly(n float64) span { return span{n, n} }

// nearest returns what of the span is closest to n.
func (s span) nearest(n float64) float64 { return min(max(n, s.low), s.high) }

func (s span) String() string {
	if s.low == s.high {
		return fmt.Sprint(s.low)
	}
	return fmt.Sprintf("%v to %v", s.low, s.high)
}

// findings are the launches of a case so far, or why there are no more.
type findings struct {
	launches []launched
	err      error
}

func (f *findings) add(one launched, err error) {
	f.launches, f.err = append(f.launches, one), err
}

// row makes a row of them, which has no statistics yet.
func (f *findings) row(c Case) (report.Row, error) {
	row := report.Row{Name: c.Name, Group: c.Group, Doc: c.Doc}
	var why unavailable
	if errors.As(f.err, &why) {
		row.NA = string(why)
		return row, nil
	}
	if f.err != nil {
		return row, f.err
	}
	var exit, entry [][]float64
	for _, one := range f.launches {
		row.Method, row.Halves = one.method, one.halves
		row.Launches = append(row.Launches, one.samples)
		row.Exits += one.exits / float64(len(f.launches))
		row.ExitsWant += one.want.nearest(one.exits) / float64(len(f.launches))
		row.ExitsLeast = one.want.low
		if !math.IsInf(one.want.high, 1) {
			row.ExitsMost = &one.want.high
		}
		if one.halves == "" {
			exit, entry = append(exit, one.exit), append(entry, one.entry)
		}
	}
	if len(exit) == len(f.launches) {
		exitHalf, entryHalf := report.Summarize(exit, 1), report.Summarize(entry, 1)
		row.ExitHalf, row.EntryHalf = &exitHalf, &entryHalf
	}
	return row, nil
}

// unavailable is why a KVM or a machine cannot do a case.
type unavailable string

func (u unavailable) Error() string { return string(u) }

func na(format string, a ...any) error { return unavailable(fmt.Sprintf(format, a...)) }

// refused is na for what KVM says, unless this process lacks something: that is no property of the KVM.
func refused(err error) error {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, fs.ErrPermission} {
		if errors.Is(err, lack) {
			return err
		}
	}
	return na("%v", err)
}
