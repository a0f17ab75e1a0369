package main

import (
	"slices"
	"strings"
	"testing"
)

func TestOnlyTheSecondFailureCounts(t *testing.T) {
	var seen []string
	f := newFirstTry(func(e event) { seen = append(seen, strings.TrimSpace(e.Action+" "+e.Package+" "+e.Test)) })
	for _, e := range []event{
		{Action: "run", Package: "a", Test: "TestLabX"}, {Action: "fail", Package: "a", Test: "TestLabX/sub"}, {Action: "fail", Package: "a", Test: "TestLabX"},
		{Action: "run", Package: "a", Test: "TestLabY"}, {Action: "pass", Package: "a", Test: "TestLabY"},
		{Action: "run", Package: "a", Test: "TestLabHangs"}, {Action: "fail", Package: "a"},
		{Action: "run", Package: "b", Test: "TestLabZ"}, {Action: "pass", Package: "b", Test: "TestLabZ"}, {Action: "pass", Package: "b"},
		{Action: "run", Package: "c", Test: "TestLabV"}, {Action: "pass", Package: "c", Test: "TestLabV"}, {Action: "fail", Package: "c"},
		{Action: "fail", Package: "crashed"},
	} {
		f.add(e)
	}
	want := []string{"run a TestLabX", "run a TestLabY", "pass a TestLabY", "run a TestLabHangs", "run b TestLabZ", "pass b TestLabZ", "pass b", "run c TestLabV", "pass c TestLabV", "fail c"}
	if !slices.Equal(seen, want) {
		t.Errorf("handed on %q, want %q", seen, want)
	}
	again := f.again([]labPackage{{path: "a"}, {path: "b"}, {path: "c"}, {path: "crashed"}})
	if len(again) != 2 || again[0].path != "a" || again[1].path != "crashed" || !slices.Equal(again[0].passed, []string{"TestLabY"}) {
		t.Errorf("again %+v, want a without TestLabY, and crashed", again)
	}
	if got := f.failures("a"); !slices.Equal(got, []string{"TestLabHangs", "TestLabX"}) {
		t.Errorf("failures %q", got)
	}
	text := script(options{}, shape{root: "/"}, again)
	if strings.Count(text, "-test.skip='^(TestLabY)$'") != 1 {
		t.Errorf("script:\n%s", text)
	}
}
