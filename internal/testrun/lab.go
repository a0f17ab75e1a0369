package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// shape is one kind of virtual bare-metal machine. A test runs in every shape that takes its package, and
// skips where the shape lacks what it needs.
type shape struct {
	name string
	arch string   // as GOARCH has it
	args []string // of usui lab
	root string   // where the host's files are inside
}

// foreign says that the shape cannot run this host's programs.
func (s shape) foreign() bool { return s.arch != runtime.GOARCH }

// shapes returns the machines of one run. A lab of another architecture is slow to reach, so it takes only
// packages with tests for the lab in files of that architecture (*_arm64_test.go).
func shapes() []shape {
	list := []shape{{"lab", runtime.GOARCH, []string{"--all-devices", "--timeout=3h"}, "/"}}
	if runtime.GOARCH != "arm64" {
		list = append(list, shape{"arm64", "arm64", []string{"--arch=arm64", "--timeout=3h"}, "/host"})
	}
	return list
}

// mustHaveInLab is what every lab offers, so that no test may skip for the want of it.
const mustHaveInLab = "kvm,hardware-kvm,root,lab"

// labPackage is a package with functions for the lab, and its test binary.
type labPackage struct {
	path, dir, binary string
	passed            []string // functions that need not run again
}

// labTier runs the functions for the lab in one lab for each shape. all is nil for benchmarks, which are
// printed instead.
func labTier(ctx context.Context, o options, all *results) error {
	unlock, err := lockLab(os.Stderr)
	if err != nil {
		return err
	}
	defer unlock()
	for _, s := range shapes() {
		if err := labShape(ctx, o, s, all); err != nil {
			return err
		}
	}
	return nil
}

// labShape builds the packages that have functions for a lab of this shape and runs them in it.
func labShape(ctx context.Context, o options, s shape, all *results) error {
	packages, err := labPackages(ctx, o, s)
	if err != nil || len(packages) == 0 {
		return err
	}
	bin, err := os.MkdirTemp("bin", "lab-tests-") // not in /tmp, which the lab hides behind its own
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	each := func(e event) { fmt.Print(e.Output) }
	if all != nil {
		tier := all.tier(s.name)
		defer tier.end()
		tier.slow = true
		each = tier.add
	}
	packages, failures := build(ctx, o, s, bin, packages)
	for _, e := range failures {
		each(e)
	}
	if all == nil {
		return runInLabs(ctx, o, s, packages, each)
	}
	first := newFirstTry(each)
	if err := runInLabs(ctx, o, s, packages, first.add); err != nil {
		return err
	}
	again := first.again(packages)
	if len(again) == 0 {
		return nil
	}
	for _, p := range again {
		each(event{Action: "output", Output: fmt.Sprintf("%s: failed and run again in another lab: %s\n", p.path, strings.Join(first.failures(p.path), " "))})
	}
	return runInLabs(ctx, o, s, again, each)
}

// labBoots is how many labs one run may use up for each shape. Under multi-threaded emulation a kernel that
// patches its own code (as KVM does when its first machine is made) crashes now and then; that is no fault of
// a test. One that crashes every lab is a failure.
const labBoots = 3

// runInLabs runs the packages in one lab and, should it crash, those that it did not end in another.
func runInLabs(ctx context.Context, o options, s shape, packages []labPackage, each func(event)) (err error) {
	for boots := 1; len(packages) > 0 && boots <= labBoots && ctx.Err() == nil; boots++ {
		if boots > 1 {
			each(event{Action: "output", Output: fmt.Sprintf("the lab crashed; another one for the %d packages that are left\n", len(packages))})
		}
		if packages, err = runInLab(ctx, o, s, packages, each); err != nil {
			return err
		}
	}
	for _, p := range packages {
		each(event{Action: "output", Package: p.path, Output: fmt.Sprintf("the lab crashed while or before this ran, %d times\n", labBoots)})
		each(event{Action: "fail", Package: p.path})
	}
	return nil
}

// labPackages lists the packages of the patterns that have functions for a lab of this shape.
func labPackages(ctx context.Context, o options, s shape) ([]labPackage, error) {
	args := []string{"list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles"}
	if o.long {
		args = append(args, "-tags=long")
	}
	cmd := command(ctx, "go", append(args, o.packages...)...)
	cmd.Env = append(os.Environ(), "GOARCH="+s.arch)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var found []labPackage
	for list := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := list.Decode(&p); err == io.EOF {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			if s.foreign() && !strings.HasSuffix(name, "_"+s.arch+"_test.go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			if o.selects(text) {
				found = append(found, labPackage{path: p.ImportPath, dir: p.Dir})
				break
			}
		}
	}
}

// prefix is how the names of the wanted functions begin.
func (o options) prefix() string {
	switch {
	case o.bench:
		return "BenchmarkLab"
	case o.long:
		return "TestLabLong"
	}
	return "TestLab"
}

// selects says whether a test file declares a function for the lab.
func (o options) selects(text []byte) bool {
	return regexp.MustCompile(`(?m)^func ` + o.prefix() + `[A-Z]`).Match(text)
}

// build makes the test binaries, static ones, as the root of a lab may lack libraries. It returns the
// packages that could be built and, for the others, the events of a failed build.
func build(ctx context.Context, o options, s shape, dir string, packages []labPackage) (built []labPackage, failures []event) {
	for i, p := range packages {
		p.binary, _ = filepath.Abs(filepath.Join(dir, fmt.Sprintf("%d-%s.test", i, filepath.Base(p.path))))
		args := []string{"test", "-c", "-o", p.binary}
		if o.long {
			args = append(args, "-tags=long")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, p.path)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+s.arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			failures = append(failures,
				event{Action: "output", Package: p.path, Output: string(out)},
				event{Action: "fail", Package: p.path})
			continue
		}
		built = append(built, p)
	}
	return built, failures
}

// script runs the packages' binaries one after the other, each in its own folder as go test does.
func script(o options, s shape, packages []labPackage) string {
	args := "-test.v=test2json -test.timeout=15m -test.run=" + quote("^"+o.prefix()+"[A-Z]")
	switch {
	case o.bench:
		args = "-test.timeout=3h -test.run=^$ -test.bench=" + quote("^"+o.prefix()+"[A-Z]")
	case o.long:
		args = "-test.v=test2json -test.timeout=3h -test.run=" + quote("^"+o.prefix()+"[A-Z]")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "export USUI_MUST_HAVE=%s\n", mustHaveInLab)
	for _, p := range packages {
		mine := args
		if len(p.passed) > 0 {
			mine += " -test.skip=" + quote("^("+strings.Join(p.passed, "|")+")$")
		}
		fmt.Fprintf(&b, "printf '\\001begin %%s\\n' %s\ncd %s && %s %s 2>&1\nprintf '\\n\\001end %%d\\n' $?\n",
			quote(p.path), quote(filepath.Join(s.root, p.dir)), quote(filepath.Join(s.root, p.binary)), mine)
	}
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// runInLab boots the shape, runs the packages in it and hands on the events. It returns the packages that
// the lab did not live to end.
func runInLab(ctx context.Context, o options, s shape, packages []labPackage, each func(event)) (left []labPackage, err error) {
	args := append([]string{"lab"}, s.args...)
	cmd := command(ctx, o.usui, append(args, "--", "sh", "-c", script(o, s, packages))...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	frames := frameReader{each: each, open: func(pkg string) (*converter, error) { return newConverter(ctx, pkg, each) }, ended: map[string]bool{}}
	readErr := frames.readAll(out)
	if err := cmd.Wait(); err != nil && len(frames.ended) == len(packages) && readErr == nil {
		readErr = fmt.Errorf("%s lab: %w", o.usui, err)
	}
	for _, p := range packages {
		if !frames.ended[p.path] {
			left = append(left, p)
		}
	}
	return left, readErr
}
