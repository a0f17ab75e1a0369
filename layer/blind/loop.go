package blind

import (
	"slices"

	"usui/layer/blind/wasm"
)

// A loop keeps constants in locals if it is a small one that neither calls nor dispatches, and not too many. A local that lives through calls is
// spilled, and so is one that lives through a br_table with all the branches of a function, as Go's compiler makes of its loops: both cost more
// than they save.
const (
	maxHoisted = 8
	smallLoop  = 2048 // bytes of instructions

	// maxLoops of a function are looked at, the first ones; others count as part of the one around them. wazero's time to compile a function grows
	// with the square of what its loops keep.
	maxLoops = 256
)

// loop is one of a function.
type loop struct {
	depth, begin int
	busy         bool       // it does not keep constants
	constants    []constant // it uses, or, once it is closed, to be computed before it begins
}

// loops are those of a function, in the order in which they begin.
type loops struct {
	all  []loop
	open []int // indices, outermost first
}

// follow notes what the instruction that s is at means for loops.
func (l *loops) follow(in *wasm.Instr, s *wasm.Scanner) {
	switch in.Op {
	case wasm.OpLoop:
		if len(l.all) == maxLoops {
			return
		}
		l.open = append(l.open, len(l.all))
		l.all = append(l.all, loop{depth: s.Depth(), begin: s.Pos()})
	case wasm.OpCall, wasm.OpCallIndirect, wasm.OpCallRef, wasm.OpBrTable:
		if top := l.innermost(); top != nil {
			top.busy = true
		}
	case wasm.OpEnd:
		if top := l.innermost(); top != nil && s.Depth() < top.depth {
			l.close(s.Pos())
		}
	}
}

// innermost returns the loop that was opened last and is open; nil if none is.
func (l *loops) innermost() *loop {
	if len(l.open) == 0 {
		return nil
	}
	return &l.all[l.open[len(l.open)-1]]
}

// use notes that the innermost loop uses a blinded constant.
func (l *loops) use(c constant) {
	if top := l.innermost(); top != nil && !top.busy {
		top.keep(c)
	}
}

func (l *loop) keep(c constant) {
	if len(l.constants) < maxHoisted && !slices.Contains(l.constants, c) {
		l.constants = append(l.constants, c)
	}
}

// close ends the innermost loop, at end. It takes over the constants of the loops in it, or makes the one around it busy, too.
func (l *loops) close(end int) {
	index := l.open[len(l.open)-1]
	closed := &l.all[index]
	l.open = l.open[:len(l.open)-1]
	if closed.busy || end-closed.begin > smallLoop {
		closed.constants = nil
		if around := l.innermost(); around != nil {
			around.busy = true
		}
		return
	}
	for i := range l.all[index+1:] { // few: it is small
		inner := &l.all[index+1+i]
		for _, c := range inner.constants {
			closed.keep(c)
		}
		inner.constants = nil
	}
}
