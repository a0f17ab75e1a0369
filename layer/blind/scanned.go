package blind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"usui/layer/blind/scan"
	"usui/layer/blind/terminator"
)

// maxRounds bounds how often a module is compiled whole, and maxPartial how often functions are in between. What a scan finds is treated in the next
// compilation, and all constants of a function in which that does not help in the one after; more are needed only where this moves
// code so that new neighbours make new terminators.
const (
	maxRounds  = 4
	maxPartial = 8
)

// compileFunc compiles a module and scans its code. whole says that the module is complete and may be the result.
type compileFunc func(module []byte, whole bool) (scan.Report, error)

// scanned has the module compiled, looks at the code, and writes again the functions in which something was found, until nothing is or no
// change would help. In between it compiles only these functions: the code of one does not depend on the bodies of others.
func (w *rewriter) scanned(ctx context.Context, compile compileFunc) ([]byte, Report, error) {
	partial := 0
	for round := 1; ; round++ {
		module, report, err := w.assemble(nil)
		if err != nil {
			return nil, report, err
		}
		found, err := w.look(compile, module, true)
		if err != nil {
			return nil, report, err
		}
		report.Scanned, report.Code, report.Rounds, report.Partial = true, found.Size.Code, round, partial
		changed := w.learn(found)
		if len(changed) == 0 || round == maxRounds {
			w.classify(&report, found)
			err := w.leaks(&report, found)
			if err != nil && w.keys.padding == 0 && slices.ContainsFunc(found.Offenders, inDisplacement) {
				if err := w.moveKeys(ctx); err != nil {
					return nil, report, err
				}
				round = 0
				continue
			}
			return module, report, err
		}
		n, err := w.improve(ctx, changed, compile)
		if err != nil {
			return nil, report, err
		}
		partial += n
	}
}

// keyPadding is how many globals move the keys' away from offsets that hold a terminator. wazero takes 16 bytes for a global, so that up to 32 in a row are at
// offsets with c2 or c3 in their second byte.
const keyPadding = 64

// inDisplacement reports whether an offender may be the offset of a global.
func inDisplacement(o scan.Offender) bool {
	return o.Where.First == scan.Disp || o.Where.Last == scan.Disp
}

// moveKeys begins again with globals in front of the keys'.
func (w *rewriter) moveKeys(ctx context.Context) error {
	w.keys.padding = keyPadding
	for i := range w.keys.list {
		w.keys.list[i].global += keyPadding
	}
	clear(w.functions)
	clear(w.found)
	w.seen = Stats{Functions: w.seen.Functions}
	return w.treatAll(ctx)
}

// look compiles a module and scans its code, which must be there.
func (w *rewriter) look(compile compileFunc, module []byte, whole bool) (scan.Report, error) {
	found, err := compile(module, whole)
	if err == nil && found.Size.Code == 0 && len(w.m.Functions) > 0 {
		err = errors.New("wazero shows no machine code: it interprets, or knows the module already")
	}
	return found, err
}

// improve treats functions again until scans of them say nothing new. It returns how often it compiled.
func (w *rewriter) improve(ctx context.Context, changed map[int]bool, compile compileFunc) (int, error) {
	for n := 0; ; n++ {
		for i := range changed {
			if err := over(ctx); err != nil {
				return n, err
			}
			if err := w.treat(i, new(Stats)); err != nil {
				return n, err
			}
		}
		if len(changed) == 0 || n == maxPartial {
			return n, nil
		}
		module, _, err := w.assemble(changed)
		if err != nil {
			return n, err
		}
		found, err := w.look(compile, module, false)
		if err != nil {
			return n, err
		}
		changed = w.learn(found)
	}
}

// search says what a scan looks for. Engine's own numbers are counted and not listed, so that a module in which there are many hides nothing.
func (w *rewriter) search() scan.Options {
	return scan.Options{Classes: w.strictSet(), Own: func(o scan.Offender) bool { return w.found[o.Function].enginesOwn(o) }}
}

// learn takes what a scan found and returns the functions for which it makes a difference.
func (w *rewriter) learn(r scan.Report) map[int]bool {
	changed := map[int]bool{}
	for _, o := range r.Offenders {
		if o.Function < 0 {
			continue
		}
		f := w.found[o.Function]
		if f == nil {
			f = &findings{}
			w.found[o.Function] = f
		}
		if f.add(o) {
			changed[o.Function] = true
		}
	}
	for i := range changed {
		w.found[i].settle()
	}
	return changed
}

// classify counts what is left by who chose it.
func (w *rewriter) classify(report *Report, r scan.Report) {
	report.Offenders = len(w.found)
	for _, h := range r.Unintended {
		if !h.Chosen {
			report.Residual[class(h.Where)] += h.Count.Of(w.strictSet())
		}
	}
	report.Residual[Engine] = r.Own
	for _, o := range r.Offenders {
		report.Residual[class(o.Where)]++
	}
}

// class is the class of a place. A terminator with a byte in a field that programs choose counts as that field's.
func class(where scan.Where) Class {
	for _, f := range []scan.Field{where.First, where.Last} {
		switch f {
		case scan.Imm:
			return Constant
		case scan.Disp:
			return Offset
		case scan.Data, scan.Unknown:
			return Vector
		}
	}
	for _, f := range []scan.Field{where.First, where.Last} {
		switch f {
		case scan.Frame:
			return Frame
		case scan.Relative:
			return Target
		}
	}
	return Encoding
}

// leaks is the error for what the policy would have kept out of code.
func (w *rewriter) leaks(report *Report, r scan.Report) error {
	if n := r.Intended.Of(terminator.Syscall); n > 0 {
		return fmt.Errorf("%d system calls are instructions of the code, and no compiler's: please report this", n)
	}
	if r.Unlisted > 0 {
		return fmt.Errorf("%d instructions more than a scan lists are in fields for constants: they cannot all be looked at; split the module", r.Unlisted)
	}
	if len(r.Offenders) > 0 {
		return w.leak(r.Offenders[0])
	}
	if n := report.Residual[Frame]; n > 0 && !w.o.LargeFrames {
		return fmt.Errorf("%d offsets in large stack frames hold control-flow instructions; split the functions, or accept large frames", n)
	}
	return nil
}

// leak is the error for one offender.
func (w *rewriter) leak(o scan.Offender) error {
	where, hint := "between functions", ""
	if o.Function >= 0 {
		where = fmt.Sprintf("function %d", w.m.ImportedFunctions+o.Function)
	}
	if inDisplacement(o) {
		hint = "; if it is the place of a global, put 64 others in front of it"
	}
	return fmt.Errorf("%s: code still holds an instruction of class %v in a field for constants (%v)%s", where, o.Class, o.Where, hint)
}
