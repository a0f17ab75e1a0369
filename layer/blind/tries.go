package blind

import (
	"bytes"
	"fmt"

	"usui/layer/blind/wasm"
)

// wazero numbers the try_tables of a module in the order in which it compiles them, and code holds the number of each that has a clause: as
// bits 8 and up of a constant whose low byte says what is called (wazevoapi.ExitCodeTryTableEnter of version 1.12).
const enterTry = 27

// maxTryPads is how many numbers are skipped at most. More would be for the third byte, beyond twelve million try_tables.
const maxTryPads = 2 * 256

// tries numbers a function's try_tables while it is walked over. wazero leaves out those that cannot be reached, by rules of which these are a copy. If
// they were wrong, the scan would find the numbers, and the module would be refused.
type tries struct {
	next   uint32
	open   []frame // blocks that are open, that of the function first
	dead   bool    // what comes is not reached
	nested int     // blocks that were opened since then
}

// frame is an open block.
type frame struct {
	reached bool // something goes to what is behind it
	loop    bool // branches go to its begin
	lonely  bool // an if without an else
}

// span is the numbers of a function's try_tables, with those that are added.
type span struct{ first, count uint32 }

// tryNumbers begins to number the function's try_tables.
func (f *function) tryNumbers() tries {
	return tries{next: f.firstTry, open: append(f.w.open[:0], frame{})}
}

// number takes the next instruction. It returns how many try_tables in front of it give it a number that is no terminator.
func (t *tries) number(w *rewriter, in *wasm.Instr) (pads int, err error) {
	if t.dead && t.skip(in.Op) {
		return 0, nil
	}
	switch in.Op {
	case wasm.OpBlock, wasm.OpLoop, wasm.OpIf:
		t.open = append(t.open, frame{loop: in.Op == wasm.OpLoop, lonely: in.Op == wasm.OpIf})
	case wasm.OpTryTable:
		for in.Index > 0 && !w.cleanTry(t.next) { // without a clause the number is in no code
			if pads++; pads > maxTryPads {
				return 0, fmt.Errorf("%d try_tables are before or in it: code would hold their numbers, whose bytes are control-flow instructions; split the module", t.next)
			}
			t.next++
		}
		t.next++
		t.branch(in) // its clauses do not count it
		t.open = append(t.open, frame{})
	case wasm.OpElse, wasm.OpEnd:
		t.leave(in.Op)
	default:
		t.branch(in)
		t.dead = in.Op.Leaves()
	}
	return pads, nil
}

// skip reports whether an instruction that is not reached changes nothing.
func (t *tries) skip(op wasm.Op) bool {
	switch op {
	case wasm.OpBlock, wasm.OpLoop, wasm.OpIf, wasm.OpTryTable:
		t.nested++
	case wasm.OpElse:
		return t.nested > 0
	case wasm.OpEnd:
		if t.nested == 0 {
			return false
		}
		t.nested--
	}
	return true
}

// branch notes where an instruction may go to.
func (t *tries) branch(in *wasm.Instr) {
	for label := range in.Labels() {
		if i := len(t.open) - 1 - int(label); i >= 0 && !t.open[i].loop {
			t.open[i].reached = true
		}
	}
}

// leave ends a block or its first half.
func (t *tries) leave(op wasm.Op) {
	last := &t.open[len(t.open)-1]
	last.reached = last.reached || !t.dead
	t.dead = false
	if op == wasm.OpElse {
		last.lonely = false
		return
	}
	t.dead = !last.reached && !last.lonely
	t.open = t.open[:len(t.open)-1]
}

// cleanTry reports whether code may hold the number of a try_table.
func (w *rewriter) cleanTry(n uint32) bool {
	return !w.o.Policy.byBytes() || !w.integers() || w.strictSet().Clean(w.arch, bytesOf(uint64(n)<<8|enterTry, 8))
}

// emptyTry has a number and no code: wazero enters one only for a clause, and leaves it where its end is reached.
var emptyTry = []byte{byte(wasm.OpTryTable), 0x40, 0, byte(wasm.OpBr), 0, byte(wasm.OpEnd)}

// appendTries appends try_tables that take numbers. They are never run.
func (f *function) appendTries(n int) {
	if n == 0 {
		return
	}
	f.stats.Tries += n
	f.out = append(wasm.AppendI32(f.out, 0), byte(wasm.OpIf), 0x40)
	f.out = append(append(f.out, bytes.Repeat(emptyTry, n)...), byte(wasm.OpEnd))
}

// stub is the body of a function of which the code does not matter, except that it has as many try_tables as the function.
func (w *rewriter) stub(i int) wasm.Body {
	code := bytes.Repeat(emptyTry, int(w.tries[i].count))
	return wasm.Body{Code: append(code, byte(wasm.OpUnreachable), byte(wasm.OpEnd))}
}
