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
	"sync/atomic"
	"time"
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
	settled           []string // functions that need not run again, whatever became of them
}

// labTime bounds the lab tier of a run, so that the table is printed before who waits for it loses patience.
const labTime = 40 * time.Minute

// labTier runs the functions for the lab in one lab for each shape. all is nil for benchmarks, which are
// printed instead.
func labTier(ctx context.Context, o options, all *results) error {
	unlock, err := lockLab(os.Stderr)
	if err != nil {
		return err
	}
	defer unlock()
	if !o.long && !o.bench {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, labTime, fmt.Errorf("the %v of the lab tier are over", labTime))
		defer cancel()
	}
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
		return runInLab(ctx, o, s, packages, each)
	}
	return runInLabs(ctx, o, s, packages, each)
}

// labBoots is how many labs one run may use up for each shape.
const labBoots = 6

// runInLabs runs the packages in one lab, and what failed, hung or was never reached in others.
func runInLabs(ctx context.Context, o options, s shape, packages []labPackage, each func(event)) error {
	all := newAttempts(each)
	for boots := 0; len(packages) > 0; boots++ {
		if ctx.Err() != nil {
			all.giveUp(packages, context.Cause(ctx).Error())
			return nil
		}
		if boots == labBoots {
			all.giveUp(packages, fmt.Sprintf("%d labs were not enough", boots))
			return nil
		}
		if err := runInLab(ctx, o, s, packages, all.add); err != nil {
			return err
		}
		if packages = all.settle(packages); len(packages) > 0 {
			each(event{Action: "output", Output: fmt.Sprintf("another lab, for %s\n", names(packages))})
		}
	}
	return nil
}

func names(packages []labPackage) string {
	var list []string
	for _, p := range packages {
		list = append(list, p.path)
	}
	return strings.Join(list, ", ")
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
		if len(p.settled) > 0 {
			mine += " -test.skip=" + quote("^("+strings.Join(p.settled, "|")+")$")
		}
		fmt.Fprintf(&b, "printf '\\001begin %%s\\n' %s\ncd %s && %s %s 2>&1\nprintf '\\n\\001end %%d\\n' $?\n",
			quote(p.path), quote(filepath.Join(s.root, p.dir)), quote(filepath.Join(s.root, p.binary)), mine)
	}
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// runInLab boots the shape, runs the packages in it and hands on the events. A lab that is silent for too long is ended.
// A lab that does not live to the end of its packages is no error.
func runInLab(ctx context.Context, o options, s shape, packages []labPackage, each func(event)) error {
	inLab, end := context.WithCancel(ctx)
	defer end()
	var ending atomic.Bool
	// The lab's kernel may stand still as a whole, so no clock inside can tell.
	watchdog := time.AfterFunc(o.silence, func() {
		fmt.Fprintf(os.Stderr, "testrun: nothing began or ended in the lab for %v: ending it\n", o.silence)
		ending.Store(true)
		end()
	})
	defer watchdog.Stop()
	watched := func(e event) {
		switch {
		case e.Action == "output":
		case ending.Load():
			return // what comes now is the end's doing
		default:
			watchdog.Reset(o.silence)
		}
		each(e)
	}
	args := append([]string{"lab"}, s.args...)
	cmd := command(inLab, o.usui, append(args, "--", "sh", "-c", script(o, s, packages))...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// The converters must live to tell what a lab that is ended has said.
	frames := frameReader{each: watched, open: func(pkg string) (*converter, error) { return newConverter(ctx, pkg, watched) }, ended: map[string]bool{}}
	readErr := frames.readAll(out)
	if err := cmd.Wait(); err != nil && len(frames.ended) == len(packages) && readErr == nil {
		readErr = fmt.Errorf("%s lab: %w", o.usui, err)
	}
	if ctx.Err() != nil {
		return nil // what is missing tells
	}
	return readErr
}
