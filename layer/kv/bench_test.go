package kv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"usui/host/need"
)

// contestant is a server that is measured.
type contestant struct {
	name, port string
	pid        int
	rate, cpu  []float64 // requests per second; microseconds of processor time for each
}

var overall = regexp.MustCompile(`SET: ([0-9.]+) requests per second`)

// measure has redis-benchmark send durable writes of 100 bytes.
func (c *contestant) measure(b *testing.B, program string, requests, pipeline int) {
	b.Helper()
	before := processorTime(b, c.pid)
	out, err := exec.Command(program, "-p", c.port, "-t", "set", "-d", "100", "-r", "100000", "-c", "50", "-q",
		"-n", fmt.Sprint(requests), "-P", fmt.Sprint(pipeline)).Output()
	m := overall.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("redis-benchmark: %v, %q", err, out)
	}
	rate, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	c.rate = append(c.rate, rate)
	c.cpu = append(c.cpu, (processorTime(b, c.pid)-before)/float64(requests))
}

// processorTime is what a process has used, in microseconds (proc_pid_stat(5); a tick is 10 ms).
func processorTime(b *testing.B, pid int) float64 {
	b.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(p), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("/proc/%d/stat: %q", pid, p)
	}
	return float64(user+system) * 10_000
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// BenchmarkBesideRedis measures usui kv, Redis with appendfsync always and with everysec on one disk, in turn, and reports medians: rates in
// thousands of requests per second, and ratios.
func BenchmarkBesideRedis(b *testing.B) {
	program := need.Tool(b, "redis-benchmark", "redis-tools")
	for _, load := range []struct{ requests, pipeline int }{{100_000, 1}, {800_000, 16}} {
		b.Run(fmt.Sprintf("pipeline=%d", load.pipeline), func(b *testing.B) {
			all := contestants(b)
			for range 7 {
				for _, c := range all {
					c.measure(b, program, load.requests, load.pipeline)
				}
			}
			usui, always, everysec := all[0], all[1], all[2]
			for _, c := range all {
				b.ReportMetric(median(c.rate)/1000, c.name+"-k/s")
				b.ReportMetric(median(c.cpu), c.name+"-us-cpu/op")
			}
			b.ReportMetric(median(usui.rate)/median(always.rate), "rate/always")
			b.ReportMetric(median(usui.rate)/median(everysec.rate), "rate/everysec")
			b.ReportMetric(median(usui.cpu)/median(always.cpu), "cpu/always")
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

// BenchmarkReadsBesideWrites measures how long a GET takes at the 99th of 100, alone and while others write durably as fast as they can, of other keys: four
// clients, whom the disk keeps waiting, and 50, who keep two processors busy. Beside it is Redis with appendfsync always, which serves nobody while
// it syncs.
func BenchmarkReadsBesideWrites(b *testing.B) {
	for _, writers := range []int{4, 50} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { readsBeside(b, writers) })
	}
}

func readsBeside(b *testing.B, clients int) {
	program := need.Tool(b, "redis-benchmark", "redis-tools")
	const reads, rounds = 5_000, 7
	all := contestants(b)[:2]
	idle, busy := make([][]float64, len(all)), make([][]float64, len(all))
	for range rounds {
		for i, c := range all {
			p, err := dial("127.0.0.1:" + c.port)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := p.do("set", "read", strings.Repeat("v", 100)); err != nil {
				b.Fatal(err)
			}
			idle[i] = append(idle[i], slowRead(b, p, reads))
			writers := exec.Command(program, "-p", c.port, "-t", "set", "-d", "100", "-r", "100000", "-c", fmt.Sprint(clients), "-q", "-l")
			if err := writers.Start(); err != nil {
				b.Fatal(err)
			}
			for before := c.written(b, p); c.written(b, p) < before+2_000; { // until they write at full speed
			}
			busy[i] = append(busy[i], slowRead(b, p, reads))
			_ = writers.Process.Kill() // it would go on for ever
			_ = writers.Wait()         // says that it was killed
			p.Close()
		}
	}
	for i, c := range all {
		b.ReportMetric(median(idle[i]), c.name+"-idle-p99-us")
		b.ReportMetric(median(busy[i]), c.name+"-busy-p99-us")
	}
	b.ReportMetric(median(busy[0])/median(idle[0]), "busy/idle")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// written is how many commands a server has executed.
func (c *contestant) written(b *testing.B, p *peer) (n int) {
	b.Helper()
	text, err := p.do("info", "stats")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "total_commands_processed:")
	fmt.Sscan(rest, &n)
	return n
}

// slowRead is the 99th percentile of the time of a GET, in microseconds.
func slowRead(b *testing.B, p *peer, reads int) float64 {
	b.Helper()
	took := make([]float64, 0, reads)
	for range reads {
		start := time.Now()
		if _, err := p.do("get", "read"); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/1000)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func contestants(b *testing.B) []*contestant {
	b.Helper()
	v := startMeasured(b)
	all := []*contestant{{name: "usui", pid: v.Process.Pid, port: portOf(v.address)}}
	for _, sync := range []string{"always", "everysec"} {
		address, pid := startRedis(b, "--save", "", "--appendonly", "yes", "--appendfsync", sync)
		all = append(all, &contestant{name: sync, pid: pid, port: portOf(address)})
	}
	return all
}

// startMeasured starts a store in a process of its own, as users have it.
func startMeasured(t testing.TB) *victim {
	t.Helper()
	v, err := startVictim(t, t.TempDir(), measure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Process.Kill()
		if err := killed(v); err != nil {
			t.Error(err)
		}
	})
	return v
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
