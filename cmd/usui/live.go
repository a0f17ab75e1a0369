package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/internal/metrics"
	"usui/internal/metrics/scrape"
	"usui/internal/rundir"
	"usui/machine/vmm"
)

// source is something in a machine that counts.
type source struct {
	Kind  string // what it is, as in "blk": the same for all that count the same
	Name  string // which one it is
	stats func() any

	Detail string // what is behind it, such as a disk's file; may be empty
	device string // of the machine, that it is part of
	mac    string // of a network card
}

// liveInfo is what a running machine says of itself: GET /usui/machine. New members may be added; names and meanings stay.
type liveInfo struct {
	Name        string    `json:"name"`
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`
	CPUs        int       `json:"cpus"`
	MemoryBytes uint64    `json:"memoryBytes"`
	CPUNs       int64     `json:"cpuNs"`    // processor time of the process, its guest's included
	RSSBytes    int64     `json:"rssBytes"` // what it holds of the host's memory, its guest's included
	Exits       uint64    `json:"exits"`    // of the guest to KVM; to this process where KVM does not count
	Devices     []device  `json:"devices"`
}

// device is one source with its counters by their names in Go.
type device struct {
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Detail string          `json:"detail,omitempty"`
	Stats  json.RawMessage `json:"stats"`
}

// live is a running machine as others see it.
type live struct {
	name    string
	started time.Time
	options *runOptions
	machine *vmm.Machine
	log     *slog.Logger

	watching sync.Mutex
	sources  []source // guarded by watching

	plugging sync.Mutex // held while a device is plugged in
	disks    int        // guarded by plugging; there were so many
	cards    int        // guarded by plugging; likewise

	procs sync.Mutex // held while GOMAXPROCS is changed

	mu   sync.RWMutex // read-locked while a request is answered
	over bool         // guarded by mu; the machine is to be closed
}

// end makes later requests fail and waits for those that are being answered: the machine may be closed then.
func (l *live) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

// answer lets h look at the machine as long as there is one.
func (l *live) answer(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		if l.over {
			http.Error(w, "the machine has ended", http.StatusGone)
			return
		}
		h(w, r)
	}
}

// list is what can be watched by now.
func (l *live) list() []source {
	l.watching.Lock()
	defer l.watching.Unlock()
	return slices.Clone(l.sources)
}

// watch adds a source, forget removes it.
func (l *live) watch(s source) {
	l.watching.Lock()
	defer l.watching.Unlock()
	l.sources = append(l.sources, s)
}

func (l *live) forget(device string) {
	l.watching.Lock()
	defer l.watching.Unlock()
	l.sources = slices.DeleteFunc(l.sources, func(s source) bool { return s.device == device })
}

// detail is what is behind a device.
func (l *live) detail(device string) string {
	for _, s := range l.list() {
		if s.device == device {
			return s.Detail
		}
	}
	return ""
}

// info describes the machine as it is now.
func (l *live) info() (liveInfo, error) {
	i := liveInfo{Name: l.name, PID: os.Getpid(), Started: l.started, CPUs: l.options.cpus, MemoryBytes: uint64(l.options.memory)}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return i, err
	}
	i.CPUNs = used.Utime.Nano() + used.Stime.Nano()
	i.RSSBytes = residentBytes()
	i.Exits = exitCount(l.machine.Stats())
	for _, s := range l.list() {
		text, err := json.Marshal(s.stats())
		if err != nil {
			return i, fmt.Errorf("%s %s: %w", s.Kind, s.Name, err)
		}
		i.Devices = append(i.Devices, device{s.Kind, s.Name, s.Detail, text})
	}
	return i, nil
}

// exitCount is how often the guest left for the kernel, as far as it is known.
func exitCount(s vmm.Stats) (n uint64) {
	if n, ok := s.Kernel["exits"]; ok {
		return n
	}
	for _, count := range s.Exits {
		n += count
	}
	return n
}

// residentBytes is this process's resident set with its reserved huge pages, which the kernel counts apart (proc(5), status); 0 if nobody says.
func residentBytes() (n int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var kib int64
		if name != "VmRSS" && name != "HugetlbPages" {
			continue
		}
		if _, err := fmt.Sscan(value, &kib); err == nil {
			n += kib << 10
		}
	}
	return n
}

// metrics collects all counters.
func (l *live) metrics() *metrics.Set {
	s, machine := &metrics.Set{}, metrics.Label{Name: "machine", Value: l.name}
	s.Add("usui_machine", l.machine.Stats(), machine)
	for _, source := range l.list() {
		s.Add("usui_"+source.Kind, source.stats(), machine, metrics.Label{Name: "device", Value: source.Name})
	}
	return s
}

// serveMetrics answers a scrape.
func (l *live) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	scrape.Answer(w, l.metrics())
}

// serveInfo answers GET /usui/machine.
func (l *live) serveInfo(w http.ResponseWriter, _ *http.Request) {
	info, err := l.info()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, info)
}

// livePart is how a machine can be found and watched while it runs.
type livePart struct {
	name    string
	metrics string // where metrics are served: HOST:PORT, or a path
}

func (p *livePart) flags(f *flag.FlagSet) {
	f.StringVar(&p.name, "name", "", "`name` of the machine for usui top and the like (default run-PID)")
	f.StringVar(&p.metrics, "metrics-listen", "", "serve metrics for Prometheus at `address`: HOST:PORT, or the path of a Unix socket to make")
}

func (p *livePart) check() error {
	if p.name != "" {
		if err := rundir.CheckName(p.name); err != nil {
			return cli.UsageError("--name: %v", err)
		}
	}
	if p.metrics != "" {
		if err := scrape.Check(p.metrics); err != nil {
			return cli.UsageError("--metrics-listen %v", err)
		}
	}
	return nil
}

func (p *livePart) checkHost() error { return nil }

func (p *livePart) argv() []string {
	if p.name == "" {
		return nil
	}
	return []string{"--name", p.name}
}

func (p *livePart) prepareLab(*lab.Config) error {
	if p.metrics != "" {
		return fmt.Errorf("--metrics-listen %s: the machine would run inside the lab, where nobody reaches it; leave the flag out, or run where /dev/kvm works", p.metrics)
	}
	return nil
}

func (p *livePart) build(context.Context, *builder) error { return nil }

// publish lets others find and watch the machine until the result is called. A machine that nobody named runs without being found where no
// socket can be made, such as on a read-only file system.
func (o *runOptions) publish(b *builder, m *vmm.Machine) (end func(), err error) {
	l := &live{name: o.live.name, started: time.Now(), options: o, machine: m, log: b.cfg.Log, sources: b.sources, disks: len(o.disks.list), cards: len(o.nets.list)}
	b.left = l.forget
	if l.name == "" {
		l.name = fmt.Sprintf("run-%d", os.Getpid())
	}
	var servers []*http.Server
	end = func() {
		for _, s := range servers {
			s.Close() // ends what clients keep waiting; its listener's error would be of no use any more
		}
		l.end()
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	socket, err := rundir.Listen(l.name)
	switch {
	case err == nil:
		mux := http.NewServeMux()
		mux.HandleFunc("GET /usui/machine", l.answer(l.serveInfo))
		mux.HandleFunc("GET /usui/metrics", l.answer(l.serveMetrics))
		mux.HandleFunc("GET /usui/devices", l.answer(l.devices))
		mux.HandleFunc("POST /usui/devices", l.answer(l.plug))
		mux.HandleFunc("DELETE /usui/devices/{name}", l.answer(l.unplug))
		mux.HandleFunc("GET /usui/balloon", l.answer(l.balloon))
		mux.HandleFunc("PUT /usui/balloon", l.answer(l.inflate))
		servers = append(servers, scrape.Serve(socket, mux, b.cfg.Log))
	case o.live.name != "":
		return end, fmt.Errorf("--name: %w", err)
	default:
		b.cfg.Log.Debug("the machine cannot be found by others", "error", err)
	}
	if o.live.metrics != "" {
		socket, err := scrape.Listen(o.live.metrics)
		if err != nil {
			return end, fmt.Errorf("--metrics-listen: %w", err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /metrics", l.answer(l.serveMetrics))
		servers = append(servers, scrape.Serve(socket, mux, b.cfg.Log))
	}
	return end, nil
}
