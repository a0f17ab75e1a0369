//go:build long

package fsmove

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usui/host/need"
	"usui/layer/fsmove/control"
)

// TestLongPjdfstest runs pjdfstest on plain files and on the mount, before and after all has arrived there: what passes on plain files has to pass there. The folder "pjdfstest" of
// USUI_SUITES has its program, built, and its tests.
func TestLongPjdfstest(t *testing.T) {
	prove := need.Tool(t, "prove", "perl")
	suite := need.Suite(t, "pjdfstest")
	src, dst, at := paths(t)
	sow(t, src, 50, 10_000)
	want := failures(t, prove, suite, t.TempDir())
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := c.Pause(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"moving", "arrived"} {
		if when == "arrived" {
			if err := c.Pause(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			v.awaitAll(t)
		}
		got := failures(t, prove, suite, filepath.Join(at, "suite"))
		t.Attr(when, fmt.Sprintf("%d lines of failures, on plain files %d", len(got), len(want)))
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("%s: %s", when, line)
			}
		}
	}
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Error(err)
	}
}

// failures runs all tests of the suite in a folder, which is made, and says which of each file fail.
func failures(t *testing.T, prove, suite, dir string) (all []string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), prove, "--jobs", "4", "--recurse", filepath.Join(suite, "tests"))
	c.Dir = dir
	out, err := c.CombinedOutput() // the error is that a test fails
	_, summary, found := strings.Cut(string(out), "Test Summary Report")
	if !found && !strings.Contains(string(out), "All tests successful") {
		t.Fatalf("prove: %v, %s", err, out[max(0, len(out)-2000):])
	}
	name := ""
	for line := range strings.Lines(summary) {
		switch at := strings.Index(line, ".t "); {
		case at >= 0 && strings.Contains(line, "Wstat"):
			name, _ = filepath.Rel(suite, line[:at+2])
		case strings.Contains(line, "Failed test"), strings.Contains(line, "Parse errors"), strings.Contains(line, "Non-zero"):
			all = append(all, name+": "+strings.TrimSpace(line))
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return all
}
