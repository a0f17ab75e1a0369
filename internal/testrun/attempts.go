package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// labTries is how often a function may fail, hang or take the lab with it before that counts. The emulated processor of a lab
// now and then ends a guest or stands still, whatever the monitor is (see internal/lab), and the more interrupts a test makes,
// the likelier.
const labTries = 2

// attempts is what became of the functions of packages over several labs.
type attempts struct {
	each     func(event)
	packages map[string]*attempt
}

// attempt is one package.
type attempt struct {
	outcome map[string]string // of its top-level functions in this lab; "run" for those that did not end
	verdict string            // of the package in this lab; "" if the lab did not live to tell
	settled []string          // functions that need not run again
	tries   map[string]int    // failed ones of each function; "" is the package without a function at fault
	failed  bool              // some function for good
}

func newAttempts(each func(event)) *attempts {
	return &attempts{each: each, packages: map[string]*attempt{}}
}

func (a *attempts) of(path string) *attempt {
	if a.packages[path] == nil {
		a.packages[path] = &attempt{outcome: map[string]string{}, tries: map[string]int{}}
	}
	return a.packages[path]
}

// add hands an event on, but keeps failures and verdicts until settle.
func (a *attempts) add(e event) {
	if e.Package == "" {
		a.each(e)
		return
	}
	p := a.of(e.Package)
	top := e.Test != "" && !(test{e.Package, e.Test}).sub()
	switch e.Action {
	case "run", "pass", "skip", "fail":
		if top {
			p.outcome[e.Test] = e.Action
		}
		if e.Test == "" {
			p.verdict = e.Action
		}
		if e.Test == "" || e.Action == "fail" {
			return
		}
	}
	a.each(e)
}

// settle ends one lab. It hands on what is certain and returns the packages that need another lab.
func (a *attempts) settle(packages []labPackage) (left []labPackage) {
	for _, l := range packages {
		p := a.of(l.path)
		again := p.settleFunctions(l.path, a.each)
		switch {
		case p.verdict == "pass" || p.verdict == "fail" && !again && p.tries[""] >= labTries:
			action := p.verdict
			if p.failed {
				action = "fail"
			}
			a.each(event{Action: action, Package: l.path})
		default:
			l.settled = p.settled
			left = append(left, l)
		}
		p.outcome, p.verdict = map[string]string{}, ""
	}
	return left
}

// settleFunctions counts what failed and says whether some function is to blame for what the package became.
func (p *attempt) settleFunctions(path string, each func(event)) (blamed bool) {
	var ended []string
	for _, name := range slices.Sorted(maps.Keys(p.outcome)) {
		if o := p.outcome[name]; o == "pass" || o == "skip" {
			ended = append(ended, name)
			continue
		}
		blamed = true
		if p.outcome[name] == "run" {
			each(event{Action: "output", Package: path, Test: name, Output: "it did not end\n"})
		}
		if p.tries[name]++; p.tries[name] < labTries {
			each(event{Action: "again", Package: path, Test: name})
			continue
		}
		p.failed = true
		each(event{Action: "fail", Package: path, Test: name})
		ended = append(ended, name)
	}
	if p.verdict == "fail" && !blamed {
		// Its functions passed, and yet it failed: all of them run again.
		if p.tries[""]++; p.tries[""] < labTries {
			each(event{Action: "again", Package: path})
		}
		return false
	}
	p.settled = append(p.settled, ended...)
	return blamed
}

// giveUp fails what is left.
func (a *attempts) giveUp(left []labPackage, why string) {
	for _, l := range left {
		a.each(event{Action: "output", Package: l.path, Output: fmt.Sprintf("%s; not run to the end, without these: %s\n", why, strings.Join(l.settled, " "))})
		a.each(event{Action: "fail", Package: l.path})
	}
}
