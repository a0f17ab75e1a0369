package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// summary is the table at the end.
type summary struct {
	tiers   []*tier
	failed  []test
	skips   []skip
	passed  int
	reasons map[test]string
}

// skip is a test that no tier ran.
type skip struct {
	test   test
	need   string // "" if the test named none
	reason string
	fault  string // why the skip is not accepted; "" if it is
}

// needed matches the skip message of package host/need.
var needed = regexp.MustCompile(`(?m)need ([a-z0-9:._-]+): (.*)$`)

// sum counts every test once. labRan says that the lab was among the tiers, so that the want of a lab
// excuses nothing.
func (r *results) sum(labRan bool) summary {
	s := summary{tiers: r.tiers, reasons: r.reasons}
	for _, id := range r.sorted(passed) {
		if !id.sub() {
			s.passed++
		}
	}
	for _, id := range r.sorted(failed) {
		if !id.sub() {
			s.failed = append(s.failed, id)
		}
	}
	for _, id := range r.sorted(skipped) {
		k := skip{test: id, reason: r.reasons[id]}
		if m := needed.FindStringSubmatch(k.reason); m != nil {
			k.need, k.reason = m[1], m[2]
		}
		switch {
		case k.need == "":
			k.fault = "names no need"
		case labRan && (k.need == "lab" || strings.HasPrefix(k.need, "lab:")):
			k.fault = "no lab of this run offered it"
		}
		s.skips = append(s.skips, k)
	}
	return s
}

// ok says that nothing failed and that every skip is explained. No test at all is no success.
func (s *summary) ok() bool {
	for _, k := range s.skips {
		if k.fault != "" {
			return false
		}
	}
	return len(s.failed) == 0 && s.passed > 0
}

func (s *summary) print(w io.Writer, took time.Duration) {
	title := "\nskipped, because this machine lacks what they need\n"
	for _, k := range s.skips {
		if k.fault == "" {
			fmt.Fprintf(w, "%s  %-14s %s\n                 %s\n", title, k.need, k.test, k.reason)
			title = "" // printed once
		}
	}
	for _, k := range s.skips {
		if k.fault != "" {
			fmt.Fprintf(w, "\nunexplained skip: %s: %s\n  %s\n", k.test, k.fault, strings.ReplaceAll(k.reason, "\n", "\n  "))
		}
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(w, "\nfailed\n")
		for _, id := range s.failed {
			fmt.Fprintf(w, "  %s\n", id)
		}
	}
	fmt.Fprintf(w, "\n%-8s%10s%10s%10s%10s\n", "tier", "passed", "failed", "skipped", "time")
	for _, t := range s.tiers {
		fmt.Fprintf(w, "%-8s%10d%10d%10d%9.0fs\n", t.name, t.count(passed), t.count(failed), t.count(skipped), t.took.Seconds())
	}
	fmt.Fprintf(w, "%-8s%49.0fs\n\n", "all", took.Seconds())
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, len(s.failed), len(s.skips))
}
