package archtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Bounds of the start-up gate, for each package of the program.
const (
	initLimit  = 300 * time.Microsecond // of clock; the least of several runs
	initBytes  = 128 << 10              // allocated; the same in every run
	gateRounds = 20
)

// build builds a program as the Makefile does and returns its path.
func build(tb testing.TB, dir, pkg string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// initCost is what the initialization of one package costs.
type initCost struct {
	clock time.Duration
	bytes int
}

// initLine matches what GODEBUG=inittrace=1 prints; see package runtime, "Environment Variables".
var initLine = regexp.MustCompile(`(?m)^init (\S+) @[0-9.]+ ms, ([0-9.]+) ms clock, ([0-9]+) bytes, [0-9]+ allocs$`)

// parseInits adds the costs of one run to those known, keeping the least of each.
func parseInits(trace string, least map[string]initCost) {
	for _, m := range initLine.FindAllStringSubmatch(trace, -1) {
		ms, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			continue // the expression matches numbers only
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			continue
		}
		cost := initCost{time.Duration(ms * float64(time.Millisecond)), n}
		if old, ok := least[m[1]]; ok {
			cost = initCost{min(old.clock, cost.clock), min(old.bytes, cost.bytes)}
		}
		least[m[1]] = cost
	}
}

// overBudget returns the packages that cost too much, each with its cost.
func overBudget(least map[string]initCost) []string {
	var over []string
	for name, c := range least {
		if c.clock > initLimit || c.bytes > initBytes {
			over = append(over, fmt.Sprintf("%s: %v, %d bytes", name, c.clock, c.bytes))
		}
	}
	slices.Sort(over)
	return over
}

func TestNoPackageIsSlowToInitialize(t *testing.T) {
	usui := build(t, "../..", "./cmd/usui")
	least := map[string]initCost{}
	for range gateRounds {
		cmd := exec.Command(usui, "version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		var trace strings.Builder
		cmd.Stderr = &trace
		if err := cmd.Run(); err != nil {
			t.Fatalf("usui version: %v\n%s", err, &trace)
		}
		parseInits(trace.String(), least)
	}
	if len(least) == 0 {
		t.Fatal("GODEBUG=inittrace=1 printed no line that is understood")
	}
	for _, text := range overBudget(least) {
		t.Errorf("initialization above %v or %d bytes: %s: build it when it is first used", initLimit, initBytes, text)
	}
}

func TestStartGateFindsSlowPackages(t *testing.T) {
	least := map[string]initCost{}
	parseInits("init internal/bytealg @0.008 ms, 0 ms clock, 0 bytes, 0 allocs\n"+
		"init usui/slow @0.1 ms, 0.31 ms clock, 16 bytes, 1 allocs\n"+
		"init usui/busy @0.1 ms, 9.1 ms clock, 16 bytes, 1 allocs\n"+
		"init example.com/table @0.1 ms, 0.2 ms clock, 400000 bytes, 9 allocs\nusui (devel)\n", least)
	parseInits("init usui/busy @0.1 ms, 0.05 ms clock, 16 bytes, 1 allocs\ninit usui/slow @0.1 ms, 0.4 ms clock, 16 bytes, 1 allocs\n", least)
	got := strings.Join(overBudget(least), "; ")
	if want := "example.com/table: 200µs, 400000 bytes; usui/slow: 310µs, 16 bytes"; got != want {
		t.Errorf("over budget: %q, want %q", got, want)
	}
}

// BenchmarkStart compares the start of "usui version" with that of an empty Go program. The two run in turns,
// so that a busy moment of the machine meets both.
func BenchmarkStart(b *testing.B) {
	empty := b.TempDir()
	for name, text := range map[string]string{"go.mod": "module empty\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(empty, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	programs := [2]string{build(b, "../..", "./cmd/usui"), build(b, empty, ".")}
	var took [2][]time.Duration
	for b.Loop() {
		for i, path := range programs {
			began := time.Now()
			if err := exec.CommandContext(context.Background(), path, "version").Run(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	b.ReportMetric(0, "ns/op") // the sum of both says nothing
	for i, name := range []string{"usui", "empty"} {
		slices.Sort(took[i])
		b.ReportMetric(milliseconds(took[i][len(took[i])/2]), "ms-"+name)
	}
	b.ReportMetric(milliseconds(took[0][len(took[0])/2]-took[1][len(took[1])/2]), "ms-more")
	b.ReportMetric(milliseconds(took[0][0]-took[1][0]), "ms-more-at-best") // what is left on an idle machine
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
