package blind

import (
	"context"
	"fmt"

	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
)

// rewriter holds one module and what becomes of its functions.
type rewriter struct {
	o    Options
	arch terminator.Arch
	m    *wasm.Module
	size int // of the module
	seen Stats
	keys keys

	functions map[int]rewritten // those that change
	found     map[int]*findings // those in which a scan found something
	tries     map[int]span      // those that have try_tables
	open      []frame           // room for a walk over a function
	nextTry   uint32            // number of the next try_table, in functions that were not looked at
}

// rewritten is a function that changes.
type rewritten struct {
	body  wasm.Body
	stats Stats
}

func newRewriter(module []byte, o Options) (*rewriter, error) {
	arch, err := terminator.ParseArch(o.Arch)
	if err != nil {
		return nil, err
	}
	m, err := wasm.Parse(module)
	if err != nil {
		return nil, err
	}
	w := &rewriter{o: o, arch: arch, m: m, size: len(module), functions: map[int]rewritten{}, found: map[int]*findings{}, tries: map[int]span{}}
	w.seen.Functions = len(m.Functions)
	w.keys = keys{set: w.set(), arch: arch, random: o.random, base: uint32(m.Globals)}
	return w, nil
}

func (w *rewriter) set() terminator.Set { return w.o.Policy.set() }

// strictSet is the set without direct branches. One in eight bytes is one, and what it leads to was there before: constants and offsets that
// hold one are blinded if the policy says so, but no module is refused, and no code searched, for others.
func (w *rewriter) strictSet() terminator.Set { return w.set() &^ terminator.Direct }

// treatAll looks at all functions for the first time.
func (w *rewriter) treatAll(ctx context.Context) error {
	for i := range w.m.Functions {
		if err := over(ctx); err != nil {
			return err
		}
		if err := w.treat(i, &w.seen); err != nil {
			return err
		}
	}
	return nil
}

// treat decides what becomes of function i.
func (w *rewriter) treat(i int, seen *Stats) error {
	numbers, again := w.tries[i]
	if !again {
		numbers.first = w.nextTry
	}
	f := &function{w: w, fn: &w.m.Functions[i], found: w.found[i], seen: seen, firstTry: numbers.first}
	b, err := f.rewrite()
	if err != nil {
		return w.in(i, err)
	}
	if !again && f.tries > 0 {
		w.tries[i] = span{numbers.first, f.tries}
		w.nextTry += f.tries
	}
	if b.Code != nil {
		w.functions[i] = rewritten{b, f.stats}
	}
	return nil
}

// in says in which function something is wrong.
func (w *rewriter) in(i int, err error) error {
	return fmt.Errorf("function %d: %w", w.m.ImportedFunctions+i, err)
}

// assemble writes the module; if only is not nil, with stubs in place of all functions but those.
func (w *rewriter) assemble(only map[int]bool) ([]byte, Report, error) {
	out := wasm.NewRewriter(w.m)
	for range w.keys.padding {
		out.AddGlobal(0)
	}
	for _, k := range w.keys.list {
		out.AddGlobal(k.value)
	}
	b, err := out.Write(func(i int) (wasm.Body, error) {
		if only != nil && !only[i] {
			return w.stub(i), nil
		}
		return w.functions[i].body, nil
	})
	report := Report{Policy: w.o.Policy, Arch: w.o.Arch, Stats: w.seen, Before: w.size, After: len(b)}
	for _, f := range w.functions {
		report.Stats.add(f.stats)
	}
	report.Keys = len(w.keys.list)
	return b, report, err
}
