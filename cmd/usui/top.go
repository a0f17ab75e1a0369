package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/cli"
	"usui/internal/rundir"
)

var topCommand = cli.Command{
	Name:  "top",
	Usage: "[flags] [name...]",
	Short: "watch the machines that run",
	Long: `Shows the machines that this user runs, or those named, and what they do, each second until it is interrupted. On a terminal the
table stays in its place; elsewhere one follows the other.

  usui top                      all machines, live
  usui top --count 1 web        one table, of the second that follows
  usui top --json --count 1     the same for programs, a line for each machine

CPU is the share of one processor that the machine took, its guest included; MEM what it holds of the host's memory; EXITS how often
the guest left for the kernel, a second; READ, WRITE, RX and TX the bytes of disks and network cards, a second.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o topOptions
		f.DurationVar(&o.interval, "interval", time.Second, "`time` from one table to the next")
		f.IntVar(&o.count, "count", 0, "end after this `number` of tables; 0: go on")
		f.BoolVar(&o.json, "json", false, "print a JSON object for each machine, a line each")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			o.names = args
			return o.run(ctx, env)
		}
	},
}

type topOptions struct {
	interval time.Duration
	count    int
	json     bool
	names    []string // of the machines; none: all
}

// topRow is one machine between two looks at it. It is a line of --json: new members may be added; names and meanings stay.
type topRow struct {
	liveInfo
	Seconds float64 `json:"seconds"` // between the two looks; what follows is for each of them
	CPU     float64 `json:"cpu"`     // processors
	Exits   float64 `json:"exitsPerSecond"`
	Read    float64 `json:"readBytesPerSecond"`
	Write   float64 `json:"writeBytesPerSecond"`
	Receive float64 `json:"receiveBytesPerSecond"` // by the guest
	Send    float64 `json:"sendBytesPerSecond"`    // by the guest
}

// look is what a machine said, and when.
type look struct {
	liveInfo
	at time.Time
}

func (o *topOptions) run(ctx context.Context, env *cli.Env) error {
	if o.interval < 50*time.Millisecond || o.count < 0 {
		return cli.UsageError("--interval %v --count %d: an interval is at least 50ms, and a count not negative", o.interval, o.count)
	}
	for _, name := range o.names {
		if err := rundir.CheckName(name); err != nil {
			return cli.UsageError("%v", err)
		}
	}
	clear, restore := "", ""
	if isTerminal(env) && !o.json && o.count != 1 {
		clear, restore = "\x1b[H\x1b[J", "\x1b[?1049l" // home, erase; leave the alternate screen
		fmt.Fprint(env.Stdout, "\x1b[?1049h")
	}
	defer fmt.Fprint(env.Stdout, restore)
	before, err := o.look(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for i := 0; o.count == 0 || i < o.count; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // an interrupt is how one leaves
		}
		now, err := o.look(ctx)
		if err != nil {
			return err
		}
		if err := o.print(env.Stdout, clear, rows(before, now)); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// look asks all machines at once. One that has gone is left out, unless it was named.
func (o *topOptions) look(ctx context.Context) (map[string]look, error) {
	names := o.names
	if len(names) == 0 {
		var err error
		if names, err = rundir.Names(); err != nil {
			return nil, err
		}
	}
	found := make([]look, len(names))
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			found[i].liveInfo, errs[i] = ask(ctx, name)
			found[i].at = time.Now()
		})
	}
	all.Wait()
	list := map[string]look{}
	for i, name := range names {
		if errs[i] == nil {
			list[name] = found[i]
		} else if len(o.names) > 0 && ctx.Err() == nil {
			return nil, fmt.Errorf("machine %s: %w", name, errs[i])
		}
	}
	return list, nil
}

// Bounds of an answer.
const (
	askTime   = 5 * time.Second
	maxAnswer = 1 << 20
)

// ask asks a machine what it is.
func ask(ctx context.Context, name string) (info liveInfo, err error) {
	ctx, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	client, err := rundir.Client(name)
	if err != nil {
		return info, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://machine/usui/machine", nil)
	if err != nil {
		return info, err
	}
	answer, err := client.Do(r)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return info, errors.New("no machine of this name runs; usui top lists those that do")
	}
	if err != nil {
		return info, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return info, fmt.Errorf("it answers %s", answer.Status)
	}
	err = json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&info)
	info.Name = name // whatever it says: this one may be printed
	return info, err
}

// rows compares two looks. A machine that was not there before, or is another one of the same name, has no rates yet.
func rows(before, now map[string]look) []topRow {
	var list []topRow
	for name, n := range now {
		row := topRow{liveInfo: n.liveInfo}
		if b, ok := before[name]; ok && b.PID == n.PID && b.Started.Equal(n.Started) {
			row.rates(b, n)
		}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b topRow) int { return cmp.Or(cmp.Compare(b.CPU, a.CPU), strings.Compare(a.Name, b.Name)) })
	return list
}

// rates fills in what happened between two looks.
func (r *topRow) rates(before, now look) {
	r.Seconds = now.at.Sub(before.at).Seconds()
	if r.Seconds <= 0 {
		return
	}
	rate := func(after, before float64) float64 { return max(0, after-before) / r.Seconds }
	r.CPU = rate(float64(now.CPUNs), float64(before.CPUNs)) / 1e9
	r.Exits = rate(float64(now.liveInfo.Exits), float64(before.liveInfo.Exits))
	for _, c := range []struct {
		kind, field string
		to          *float64
	}{
		{"blk", "BytesRead", &r.Read}, {"blk", "BytesWritten", &r.Write},
		{"net", "BytesReceived", &r.Receive}, {"net", "BytesSent", &r.Send},
	} {
		*c.to = rate(now.sum(c.kind, c.field), before.sum(c.kind, c.field))
	}
}

// sum adds up one counter of all devices of a kind.
func (i liveInfo) sum(kind, field string) (total float64) {
	for _, d := range i.Devices {
		var stats map[string]any
		if d.Kind != kind || json.Unmarshal(d.Stats, &stats) != nil {
			continue
		}
		n, _ := stats[field].(float64)
		total += n
	}
	return total
}

func (o *topOptions) print(w io.Writer, clear string, list []topRow) error {
	if o.json {
		out := json.NewEncoder(w)
		for _, r := range list {
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	b.WriteString(clear)
	if len(list) == 0 {
		b.WriteString("no machine runs\n")
	} else {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "PID\tCPU\tMEM\tEXITS\tREAD\tWRITE\tRX\tTX\tUP\t  NAME")
		for _, r := range list {
			fmt.Fprintf(t, "%d\t%.0f%%\t%s\t%.0f\t%s\t%s\t%s\t%s\t%v\t  %s\n", r.PID, 100*r.CPU, bytesText(float64(r.RSSBytes)), r.Exits,
				bytesText(r.Read), bytesText(r.Write), bytesText(r.Receive), bytesText(r.Send), time.Since(r.Started).Truncate(time.Second), r.Name)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bytesText is a number of bytes in at most six characters.
func bytesText(n float64) string {
	for _, unit := range []string{"B", "K", "M", "G"} {
		if n < 1000 {
			if n >= 10 || unit == "B" {
				return fmt.Sprintf("%.0f%s", n, unit)
			}
			return fmt.Sprintf("%.1f%s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.1fT", n)
}
