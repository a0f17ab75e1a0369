package main

import (
	"maps"
	"slices"
)

// firstTry is the first run of packages in a lab. The emulated processor of a lab now and then ends a guest, or lets it hang, whatever the
// monitor is (see internal/lab), and the more interrupts a test makes, the likelier. So what failed is run once more in another lab, and
// only the second failure counts.
type firstTry struct {
	each     func(event)
	packages map[string]*tried
}

// tried is what one package did.
type tried struct {
	failed  bool
	outcome map[string]string // of its top-level functions; "run" for those that did not end
}

func newFirstTry(each func(event)) *firstTry {
	return &firstTry{each: each, packages: map[string]*tried{}}
}

// add hands an event on, unless it is a failure.
func (f *firstTry) add(e event) {
	p := f.packages[e.Package]
	if p == nil {
		p = &tried{outcome: map[string]string{}}
		f.packages[e.Package] = p
	}
	top := e.Test != "" && !(test{e.Package, e.Test}).sub()
	switch e.Action {
	case "run", "pass", "skip":
		if top {
			p.outcome[e.Test] = e.Action
		}
	case "fail":
		if top {
			p.outcome[e.Test] = e.Action
		}
		p.failed = p.failed || e.Test == ""
		if e.Test != "" || f.canRetry(p) {
			return
		}
	}
	f.each(e)
}

// canRetry says that another run has something to do: a package may fail although each of its functions passed.
func (f *firstTry) canRetry(p *tried) bool { return len(p.outcome) == 0 || len(p.unfinished()) > 0 }

// unfinished are the functions that failed or did not end.
func (p *tried) unfinished() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(p.outcome)) {
		if o := p.outcome[name]; o == "fail" || o == "run" {
			names = append(names, name)
		}
	}
	return names
}

// failures are those of one package.
func (f *firstTry) failures(path string) []string { return f.packages[path].unfinished() }

// again lists the packages that are to run once more, without what passed.
func (f *firstTry) again(packages []labPackage) (list []labPackage) {
	for _, p := range packages {
		t := f.packages[p.path]
		if t == nil || !t.failed || !f.canRetry(t) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(t.outcome)) {
			if o := t.outcome[name]; o == "pass" || o == "skip" {
				p.passed = append(p.passed, name)
			}
		}
		list = append(list, p)
	}
	return list
}
