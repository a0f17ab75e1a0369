package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// shownExits are the counters of the tables, of dozens. The first is the sum of all exits, also of those that none of the others
// counts, such as MSRs; the last two are no exits but go with some.
var shownExits = [...]struct {
	counter, title string
	reads          bool // also of interest of a load
}{
	{"exits", "all", true},
	{"io_exits", "ports", true},
	{"mmio_exits", "MMIO", true},
	{"pf_taken", "page faults", true},
	{"halt_exits", "HLT", true},
	{"irq_exits", "interrupts", true},
	{"irq_window_exits", "irq window", true},
	{"request_irq_exits", "irq request", false},
	{"hypercalls", "hypercalls", false},
	{"insn_emulation", "emulated", true},
	{"irq_injections", "injected", true},
}

// shownHits is how many of a trace's keys are printed.
const shownHits = 10

// print writes the report for people.
func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r.printWhere(w)
	r.printBars(w)
	r.printBoot(w)
	for _, p := range r.Phases {
		p.print(w)
	}
	printLoads(w, "READS from a virtio disk, the same file in memory", "reads", r.Blk, map[string]string{usui: withRTC, withRTC: withRTC})
	printLoads(w, "NETWORK through a tap", "MiB or round trips", r.Net,
		map[string]string{usui: withRTC, withRTC: withRTC, usuiVhost: qemuVhost, qemuVhost: qemuVhost})
	if len(r.Crashes) > 0 {
		fmt.Fprintf(w, "\nLABS that ended early; each time another one went on\n")
		for _, c := range r.Crashes {
			fmt.Fprintf(w, "  %s\n", c)
		}
	}
	if len(r.Failures) > 0 {
		fmt.Fprintf(w, "\nFAILED\n")
		for _, f := range r.Failures {
			fmt.Fprintf(w, "  %s\n", f)
		}
	}
	return w.Flush()
}

func (r *report) printWhere(w io.Writer) {
	h := r.Where
	fmt.Fprintf(w, "usui and its peers in one lab\n\n")
	fmt.Fprintf(w, "host\t%s, %d CPUs, kernel %s, load average before: %s\n", h.CPU, h.CPUs, h.Kernel, h.Load)
	fmt.Fprintf(w, "lab\tkernel %s, %d CPUs (%s), %d MiB, huge pages %s; its clock made %.2f s of a second of the host's\n",
		h.Lab.Kernel, h.Lab.CPUs, h.Lab.CPU, h.Lab.MemoryBytes>>20, h.Lab.HugePages, h.ClockRatio)
	fmt.Fprintf(w, "guest\tkernel %s, %s CPU, %d MiB, %q; gokvm: also %q\n", h.Guest, guestCPUs, guestMemoryMiB, commonCmdline, h.Lab.GokvmWords)
	fmt.Fprintf(w, "monitors\t%s; %s; gokvm %s\n", h.Lab.Usui, h.Lab.QEMU, h.Gokvm)
	fmt.Fprintf(w, "\tTimes are the lab's: ratios and counts mean something, seconds do not. Medians [smallest-largest].\n")
}

func (r *report) printBars(w io.Writer) {
	fmt.Fprintf(w, "\nBARS\n")
	for _, b := range r.Bars {
		bound, verdict, value := "at most", "MISSED", "not measured"
		if b.Least {
			bound = "at least"
		}
		if b.held() {
			verdict = "pass"
		}
		if b.Known {
			value = fmt.Sprintf("%.3f%s", b.Value, b.Unit)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s %.1f%s\n", verdict, value, b.What, bound, b.Limit, b.Unit)
	}
}

func (r *report) printBoot(w io.Writer) {
	if len(r.Boot) == 0 {
		return
	}
	const mib = 1.0 / (1 << 20)
	fmt.Fprintf(w, "\nBOOT: start of the monitor to init's first line\n  \tseconds\tto usui's\trounds\tfailed\n")
	for _, s := range r.Boot {
		ratio := "-"
		if r.Boot[0].Monitor == usui && r.Boot[0].Seconds.N > 0 && s.Seconds.N > 0 {
			ratio = fmt.Sprintf("%.2f", s.Seconds.Median/r.Boot[0].Seconds.Median)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%d\n", s.Monitor, s.Seconds.text(2), ratio, s.Seconds.N, s.Failed)
	}
	fmt.Fprintf(w, "\nMEMORY after boot, MiB\n  \tRssAnon\tanonymous outside guest RAM\tguest RAM in use\tPSS, all\n")
	for _, s := range r.Boot {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", s.Monitor, s.RssAnon.scaled(mib).text(1), s.Own.scaled(mib).text(1),
			s.RAM.scaled(mib).text(1), s.PSS.scaled(mib).text(1))
	}
	fmt.Fprintf(w, "\nEXITS during the boot, KVM's counters\n  ")
	for _, s := range r.Boot {
		fmt.Fprintf(w, "\t%s", s.Monitor)
	}
	fmt.Fprintln(w)
	for _, e := range shownExits {
		fmt.Fprintf(w, "  %s", e.title)
		for _, s := range r.Boot {
			fmt.Fprintf(w, "\t%s", s.Exits[e.counter].text(0))
		}
		fmt.Fprintln(w)
	}
}

// print writes where the time of one boot went.
func (p phasesRun) print(w io.Writer) {
	fmt.Fprintf(w, "\nPHASES of %s, one boot with initcall_debug and traces\n", p.Monitor)
	if p.Error != "" {
		fmt.Fprintf(w, "  failed\n")
		return
	}
	if p.Start != nil {
		fmt.Fprintf(w, "  VM and devices\ttook %s\n  kernel into memory\ttook %s\n  guest entered\tat %s of the monitor's process\n",
			ms(p.Start.Monitor), ms(p.Start.Image), ms(p.Start.Entered))
	}
	fmt.Fprintf(w, "  kernel's clock begins\tat %s of the monitor's process\n", ms(p.Up-p.Kernel.End))
	before := time.Duration(0)
	for _, m := range p.Kernel.Milestones {
		fmt.Fprintf(w, "  %s\tat %s, +%s\n", m.Name, ms(m.At), ms(m.At-before))
		before = m.At
	}
	var calls []string
	for _, c := range p.Kernel.Initcalls {
		calls = append(calls, fmt.Sprintf("%s %s", c.Name, ms(c.Time)))
	}
	fmt.Fprintf(w, "  initcalls, all %s\t%s\n", ms(p.Kernel.CallsTotal), folded(calls))
	for _, h := range histograms() {
		total := uint64(0)
		var keys []string
		for i, hit := range p.Traces[h.name] {
			total += hit.Count
			if i < shownHits {
				keys = append(keys, fmt.Sprintf("%s: %d", hit.Key, hit.Count))
			}
		}
		fmt.Fprintf(w, "  %s, all %d\t%s\n", h.name, total, folded(keys))
	}
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// folded writes a list on lines of some items each, to stand in a second column.
func folded(items []string) string {
	const inALine = 4
	var b strings.Builder
	for i, item := range items {
		switch {
		case i > 0 && i%inALine == 0:
			b.WriteString(",\n  \t")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(item)
	}
	return b.String()
}

// printLoads writes the loads of disks or network cards. peer names the monitor that another one is compared with.
func printLoads(w io.Writer, title, unit string, list []loadSummary, peer map[string]string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n  load\tmonitor and variant\t%s a second\tMiB/s\tto QEMU's\tfor each: system calls\texits:", title, unit)
	for _, e := range shownExits {
		if e.reads {
			fmt.Fprintf(w, "\t%s", e.title)
		}
	}
	fmt.Fprintln(w)
	for _, s := range list {
		ratio := "-"
		if other := find(list, s.Load, peer[s.Monitor]); other.Rate.N > 0 && !s.Choice {
			ratio = fmt.Sprintf("%.2f", s.Rate.Median/other.Rate.Median)
		}
		name := strings.TrimSpace(s.Monitor + " " + s.Disk)
		if s.Choice {
			name += " (to choose)"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%.0f\t%s\t%.2f\t", s.Load, name, s.Rate.text(0), s.Rate.Median*s.Bytes/(1<<20), ratio, s.Calls)
		for _, e := range shownExits {
			if e.reads {
				fmt.Fprintf(w, "\t%.2f", s.Exits[e.counter])
			}
		}
		fmt.Fprintln(w)
	}
}
