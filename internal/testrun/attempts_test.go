package main

import (
	"slices"
	"strings"
	"testing"
)

func TestOnlyTheSecondFailureCounts(t *testing.T) {
	var seen []string
	a := newAttempts(func(e event) {
		if e.Action != "output" {
			seen = append(seen, strings.TrimSpace(e.Action+" "+e.Package+" "+e.Test))
		}
	})
	packages := []labPackage{{path: "a"}, {path: "b"}, {path: "c"}, {path: "unseen"}}
	for _, lab := range []struct {
		events []event
		seen   []string
		left   []labPackage
	}{
		{[]event{
			{Action: "run", Package: "a", Test: "TestLabX"}, {Action: "fail", Package: "a", Test: "TestLabX/sub"}, {Action: "fail", Package: "a", Test: "TestLabX"},
			{Action: "run", Package: "a", Test: "TestLabY"}, {Action: "pass", Package: "a", Test: "TestLabY"}, {Action: "fail", Package: "a"},
			{Action: "run", Package: "b", Test: "TestLabZ"}, {Action: "pass", Package: "b", Test: "TestLabZ"}, {Action: "pass", Package: "b"},
			{Action: "run", Package: "c", Test: "TestLabV"}, {Action: "pass", Package: "c", Test: "TestLabV"}, {Action: "fail", Package: "c"},
		}, []string{
			"run a TestLabX", "run a TestLabY", "pass a TestLabY", "run b TestLabZ", "pass b TestLabZ", "run c TestLabV", "pass c TestLabV",
			"again a TestLabX", "pass b", "again c",
		}, []labPackage{{path: "a", settled: []string{"TestLabY"}}, {path: "c"}, {path: "unseen"}}},
		{[]event{
			{Action: "run", Package: "a", Test: "TestLabX"}, {Action: "pass", Package: "a", Test: "TestLabX"}, {Action: "pass", Package: "a"},
			{Action: "run", Package: "c", Test: "TestLabV"}, {Action: "pass", Package: "c", Test: "TestLabV"}, {Action: "fail", Package: "c"},
			{Action: "run", Package: "unseen", Test: "TestLabHangs"},
		}, []string{
			"run a TestLabX", "pass a TestLabX", "run c TestLabV", "pass c TestLabV", "run unseen TestLabHangs",
			"pass a", "fail c", "again unseen TestLabHangs",
		}, []labPackage{{path: "unseen"}}},
		{[]event{{Action: "run", Package: "unseen", Test: "TestLabHangs"}},
			[]string{"run unseen TestLabHangs", "fail unseen TestLabHangs"}, []labPackage{{path: "unseen", settled: []string{"TestLabHangs"}}}},
		{[]event{{Action: "run", Package: "unseen", Test: "TestLabRest"}, {Action: "pass", Package: "unseen", Test: "TestLabRest"}, {Action: "pass", Package: "unseen"}},
			[]string{"run unseen TestLabRest", "pass unseen TestLabRest", "fail unseen"}, nil},
	} {
		seen = nil
		for _, e := range lab.events {
			a.add(e)
		}
		packages = a.settle(packages)
		if !slices.Equal(seen, lab.seen) {
			t.Errorf("handed on %q, want %q", seen, lab.seen)
		}
		if !slices.EqualFunc(packages, lab.left, func(x, y labPackage) bool { return x.path == y.path && slices.Equal(x.settled, y.settled) }) {
			t.Errorf("left %+v, want %+v", packages, lab.left)
		}
	}
	text := script(options{}, shape{root: "/"}, []labPackage{{path: "a", settled: []string{"TestLabX", "TestLabY"}}})
	if strings.Count(text, "-test.skip='^(TestLabX|TestLabY)$'") != 1 {
		t.Errorf("script:\n%s", text)
	}
}
