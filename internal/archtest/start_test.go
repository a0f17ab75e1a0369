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

// initBytes is how much the initialization of a package may allocate, in each run the same. What takes long at the start nearly always allocates;
// time itself is for BenchmarkStart, since a test on a busy machine cannot hold it.
const initBytes = 128 << 10

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

// initLine matches what GODEBUG=inittrace=1 prints; see package runtime, "Environment Variables".
var initLine = regexp.MustCompile(`(?m)^init (\S+) @[0-9.]+ ms, [0-9.]+ ms clock, ([0-9]+) bytes, [0-9]+ allocs$`)

// parseInits returns what the initialization of each package allocates.
func parseInits(trace string) map[string]int {
	bytes := map[string]int{}
	for _, m := range initLine.FindAllStringSubmatch(trace, -1) {
		if n, err := strconv.Atoi(m[2]); err == nil { // the expression matches numbers only
			bytes[m[1]] = n
		}
	}
	return bytes
}

// overBudget returns the packages that allocate too much.
func overBudget(bytes map[string]int) []string {
	var over []string
	for name, n := range bytes {
		if n > initBytes {
			over = append(over, fmt.Sprintf("%s: %d bytes", name, n))
		}
	}
	slices.Sort(over)
	return over
}

func TestNoPackageIsSlowToInitialize(t *testing.T) {
	cmd := exec.Command(build(t, "../..", "./cmd/usui"), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatalf("usui version: %v\n%s", err, &trace)
	}
	inits := parseInits(trace.String())
	if len(inits) == 0 {
		t.Fatal("GODEBUG=inittrace=1 printed no line that is understood")
	}
	for _, text := range overBudget(inits) {
		t.Errorf("initialization allocates more than %d bytes: %s: build it when it is first used", initBytes, text)
	}
}

func TestStartGateFindsSlowPackages(t *testing.T) {
	got := overBudget(parseInits("init internal/bytealg @0.008 ms, 0 ms clock, 0 bytes, 0 allocs\n" +
		"init example.com/table @0.1 ms, 0.2 ms clock, 400000 bytes, 9 allocs\nusui (devel)\n" +
		"init usui/small @0.1 ms, 9.1 ms clock, 131072 bytes, 1 allocs\ninit usui/large @0.1 ms, 0 ms clock, 131073 bytes, 1 allocs\n"))
	if want := []string{"example.com/table: 400000 bytes", "usui/large: 131073 bytes"}; !slices.Equal(got, want) {
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
