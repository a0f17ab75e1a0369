package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Bars: what the comparison must reach.
const (
	bootBar   = 0.7     // at most, of the better peer's time
	memoryBar = 8 << 20 // at most, bytes
	blkBar    = 1.0     // at least, of QEMU's rate
	deepBar   = 1.2     // likewise, where many reads are in flight
	netBar    = 1.0     // at least, of QEMU's rate with the same kind of network card
)

// report is all that a run of the benchmark tells.
type report struct {
	Where    where         `json:"where"`
	Bars     []bar         `json:"bars"`
	Boot     []bootSummary `json:"boot"`
	Phases   []phasesRun   `json:"phases"`
	Blk      []loadSummary `json:"blk"`
	Net      []loadSummary `json:"net"`
	Failures []string      `json:"failures"`
	Crashes  []string      `json:"crashes"` // of labs; another one went on
	Records  []record      `json:"records"`
}

// where says on what it ran.
type where struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	Kernel     string  `json:"kernel"`
	Load       string  `json:"load"` // of the host, before
	Guest      string  `json:"guest"`
	Gokvm      string  `json:"gokvm"`
	Lab        labInfo `json:"lab"`
	ClockRatio float64 `json:"clockRatio"` // seconds of the lab for one of the host
}

// bar is one promise and whether it was held.
type bar struct {
	What  string  `json:"what"`
	Value float64 `json:"value"` // not there (Known false) when it could not be measured
	Known bool    `json:"known"`
	Limit float64 `json:"limit"`
	Least bool    `json:"least"` // the limit is a least value, not a most
	Unit  string  `json:"unit"`
}

func (b bar) held() bool {
	if b.Least {
		return b.Known && b.Value >= b.Limit
	}
	return b.Known && b.Value <= b.Limit
}

// bootSummary is one monitor's boots.
type bootSummary struct {
	Monitor string            `json:"monitor"`
	Seconds spread            `json:"seconds"`
	Own     spread            `json:"ownAnonBytes"`
	RssAnon spread            `json:"rssAnonBytes"`
	RAM     spread            `json:"ramPssBytes"`
	PSS     spread            `json:"pssBytes"`
	Exits   map[string]spread `json:"exits"`
	Failed  int               `json:"failed"`
}

// loadSummary is one load on one monitor's disk or network card. An operation is a read, a MiB of a stream, or a round trip.
type loadSummary struct {
	Load    string             `json:"load"`
	Monitor string             `json:"monitor"`
	Disk    string             `json:"disk,omitempty"`
	Choice  bool               `json:"choice,omitempty"`
	Rate    spread             `json:"operationsPerSecond"`
	Bytes   float64            `json:"bytesPerOperation"`
	Exits   map[string]float64 `json:"exitsPerOperation"`       // medians
	Calls   float64            `json:"systemCallsPerOperation"` // of the monitor, in the traced run
}

func newReport(p plan, records []record) report {
	r := report{Records: records, Where: whereOf(p, records), Failures: []string{}, Crashes: []string{}}
	if p.GokvmError != "" {
		r.Failures = append(r.Failures, "gokvm: "+p.GokvmError)
	}
	for _, rec := range records {
		part, run := rec.run()
		if run.Before != "" {
			r.Failures = append(r.Failures, fmt.Sprintf("%s, round %d, %s, tried again: %s", part, run.Round+1, run.Monitor, run.Before))
		}
		if run.Error != "" {
			r.Failures = append(r.Failures, fmt.Sprintf("%s, round %d, %s: %s", part, run.Round+1, run.Monitor, run.Error))
		}
		if rec.Phases != nil {
			r.Phases = append(r.Phases, *rec.Phases)
		}
	}
	for _, name := range []string{usui, microvm, withRTC, gokvm} {
		if s := summarizeBoots(name, records); s.Seconds.N+s.Failed > 0 {
			r.Boot = append(r.Boot, s)
		}
	}
	r.Blk, r.Net = summarizeLoads(partBlk, records), summarizeLoads(partNet, records)
	r.Bars = r.bars(p)
	return r
}

func whereOf(p plan, records []record) where {
	w := where{CPU: cpuInfo("model name"), CPUs: runtime.NumCPU(), Guest: p.Release, Gokvm: gokvmVersion, Load: p.Load}
	w.Kernel, _ = kernelRelease() // fails for a bad pointer only
	w.ClockRatio = clockRatio(records)
	if len(records) > 0 && records[0].Lab != nil {
		w.Lab = *records[0].Lab
	}
	return w
}

// clockRatio is how fast the first lab's clock ran, 0 if it did not live for long enough to tell.
func clockRatio(records []record) float64 {
	if len(records) == 0 {
		return 0
	}
	first, last := records[0], records[0]
	for _, r := range records[1:] {
		if r.Lab != nil {
			break
		}
		last = r
	}
	passed := last.arrived.Sub(first.arrived)
	if passed < 10*time.Second {
		return 0
	}
	return (last.At - first.At).Seconds() / passed.Seconds()
}

// loadAverage is how busy the host is: above a few tenths the figures are not to be trusted.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func summarizeBoots(name string, records []record) bootSummary {
	var seconds, own, anon, ram, pss []float64
	exits := map[string][]float64{}
	s := bootSummary{Monitor: name, Exits: map[string]spread{}}
	for _, rec := range records {
		b := rec.Boot
		if b == nil || b.Monitor != name {
			continue
		}
		if b.Error != "" {
			s.Failed++
			continue
		}
		seconds = append(seconds, b.Up.Seconds())
		own, anon = append(own, float64(b.Memory.Own)), append(anon, float64(b.Memory.RssAnon))
		ram, pss = append(ram, float64(b.Memory.RAM)), append(pss, float64(b.Memory.PSS))
		for cause, n := range b.Exits {
			exits[cause] = append(exits[cause], float64(n))
		}
	}
	s.Seconds, s.Own, s.RssAnon, s.RAM, s.PSS = spreadOf(seconds), spreadOf(own), spreadOf(anon), spreadOf(ram), spreadOf(pss)
	for cause, values := range exits {
		s.Exits[cause] = spreadOf(values)
	}
	return s
}

// loads are the loads that a record of the part has, and whether they were to choose between variants.
func (rec record) loads(part string) (list []loadResult, choice bool) {
	switch {
	case rec.Blk != nil && part == partBlk:
		return rec.Blk.Loads, rec.Blk.Choice
	case rec.Net != nil && part == partNet:
		return rec.Net.Loads, false
	}
	return nil, false
}

// summarizeLoads puts the results of one load next to each other.
func summarizeLoads(part string, records []record) []loadSummary {
	type key struct {
		load, monitor, disk string
		choice              bool
	}
	var order []key
	results, calls := map[key][]loadResult{}, map[key]float64{}
	for _, rec := range records {
		list, choice := rec.loads(part)
		for _, l := range list {
			k := key{l.Load, rec.shared().Monitor, l.Disk, choice}
			if rec.shared().Traced {
				calls[k] = float64(l.Calls) / float64(l.Ops)
				continue
			}
			if results[k] == nil {
				order = append(order, k)
			}
			results[k] = append(results[k], l)
		}
	}
	slices.SortStableFunc(order, func(a, b key) int { return strings.Compare(a.load, b.load) })
	var list []loadSummary
	for _, k := range order {
		s := loadSummary{Load: k.load, Monitor: k.monitor, Disk: k.disk, Choice: k.choice, Calls: calls[k]}
		s.fill(results[k])
		list = append(list, s)
	}
	return list
}

func (s *loadSummary) fill(results []loadResult) {
	var rates []float64
	exits := map[string][]float64{}
	for _, l := range results {
		rates = append(rates, l.rate())
		s.Bytes = float64(l.Bytes) / float64(l.Ops)
		for cause, n := range l.Exits {
			exits[cause] = append(exits[cause], float64(n)/float64(l.Ops))
		}
	}
	s.Rate, s.Exits = spreadOf(rates), map[string]float64{}
	for cause, values := range exits {
		s.Exits[cause] = spreadOf(values).Median
	}
}

// bars compares with what must be reached, for the parts that were asked for.
func (r *report) bars(p plan) []bar {
	var list []bar
	if slices.Contains(p.Parts, partBoot) {
		ours, peers := spread{}, spread{}
		memory := bar{What: "monitor's memory after boot: RssAnon outside guest RAM", Limit: memoryBar / (1 << 20), Unit: " MiB"}
		for _, s := range r.Boot {
			switch {
			case s.Monitor == usui:
				ours = s.Seconds
				memory.Known, memory.Value = s.RssAnon.N > 0, s.RssAnon.Max/(1<<20)
			case s.Seconds.N > 0 && (peers.N == 0 || s.Seconds.Median < peers.Median):
				peers = s.Seconds
			}
		}
		boot := bar{What: "boot to init, of the better peer's time", Limit: bootBar, Unit: " x"}
		if ours.N > 0 && peers.N > 0 {
			boot.Known, boot.Value = true, ours.Median/peers.Median
		}
		list = append(list, boot, memory)
	}
	if slices.Contains(p.Parts, partBlk) {
		for _, l := range p.Ops.loads() {
			limit := blkBar
			if l.depth == deepest {
				limit = deepBar
			}
			list = append(list, compareLoads("reads, "+l.name+", of QEMU's rate", limit, r.Blk, l.name, usui, withRTC))
		}
	}
	if slices.Contains(p.Parts, partNet) {
		for _, l := range p.Net.loads() {
			list = append(list,
				compareLoads(l.name+", of QEMU's rate", netBar, r.Net, l.name, usui, withRTC),
				compareLoads(l.name+", vhost, of QEMU's rate with vhost", netBar, r.Net, l.name, usuiVhost, qemuVhost))
		}
	}
	return list
}

// compareLoads is the bar that our rate is at least limit times the peer's.
func compareLoads(what string, limit float64, list []loadSummary, load, ours, peer string) bar {
	b := bar{What: what, Limit: limit, Least: true, Unit: " x"}
	us, them := find(list, load, ours), find(list, load, peer)
	if us.Rate.N > 0 && them.Rate.N > 0 {
		b.Known, b.Value = true, us.Rate.Median/them.Rate.Median
	}
	return b
}

// find is the summary of the rounds, not of the choice.
func find(list []loadSummary, load, monitor string) loadSummary {
	for _, s := range list {
		if s.Load == load && s.Monitor == monitor && !s.Choice {
			return s
		}
	}
	return loadSummary{}
}

// verdict is an error when a bar was missed, or usui failed in some round. A peer that failed stands in the tables.
func (r *report) verdict() error {
	var missed []string
	for _, b := range r.Bars {
		if !b.held() {
			missed = append(missed, b.What)
		}
	}
	failed := 0
	for _, rec := range r.Records {
		if part, own := rec.run(); part != "" && (own.Monitor == usui || own.Monitor == usuiVhost) && own.Error != "" {
			failed++
		}
	}
	switch {
	case len(missed) > 0:
		return fmt.Errorf("%d of %d bars not held: %s", len(missed), len(r.Bars), strings.Join(missed, "; "))
	case failed > 0:
		return fmt.Errorf("usui failed in %d runs", failed)
	}
	return nil
}
