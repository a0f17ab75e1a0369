package blind

import (
	"fmt"

	"usui/layer/blind/wasm"
)

// function is one function while it is written.
type function struct {
	w     *rewriter
	fn    *wasm.Func
	found *findings
	seen  *Stats // counts instructions
	stats Stats  // counts what was done

	firstTry uint32 // number of its first try_table
	tries    uint32 // how many there are, with those that are added

	out     []byte
	locals  []wasm.ValType // added
	slots   map[slot]uint32
	hoisted map[constant]uint32 // locals that hold constants, within a loop
}

// slot is a local that instructions use one after the other.
type slot struct {
	typ wasm.ValType
	n   int
}

// rewrite returns what becomes of the function; a body without code if nothing does.
func (f *function) rewrite() (wasm.Body, error) {
	p, err := f.plan()
	if err != nil {
		return wasm.Body{}, err
	}
	if err := f.checkFrame(); err != nil || !p.touched {
		return wasm.Body{}, err
	}
	f.out = make([]byte, 0, len(f.fn.Code)+len(f.fn.Code)/8)
	if err := f.emit(p); err != nil {
		return wasm.Body{}, err
	}
	if n := f.fn.Params + f.fn.Locals + len(f.locals); n > wasm.MaxLocals {
		return wasm.Body{}, fmt.Errorf("%d locals with those that blinding adds, more than %d", n, wasm.MaxLocals)
	}
	return wasm.Body{Locals: f.locals, Code: f.out}, nil
}

// checkFrame refuses a function whose frame may be so large that offsets in it hold a return.
func (f *function) checkFrame() error {
	n := f.fn.Params + f.fn.Locals
	if f.w.o.LargeFrames || !f.w.o.Policy.byBytes() || !f.w.integers() || 8*n < largeFrame {
		return nil
	}
	return fmt.Errorf("%d locals: its stack frame may reach %d bytes, where offsets hold returns; split it, or accept large frames", n, 8*n)
}

// emit is the second walk: it writes.
func (f *function) emit(p plan) error {
	depth, loops := 0, p.loops // depth is that of the loop whose constants are in locals
	numbers := f.tryNumbers()
	s := wasm.NewScanner(f.fn.Code)
	for s.Next() {
		in := s.Instr()
		switch {
		case in.Op == wasm.OpLoop && len(loops) > 0:
			if list := loops[0].constants; len(list) > 0 {
				depth = s.Depth()
				if err := f.appendHoisted(list); err != nil {
					return err
				}
			}
			loops = loops[1:]
		case in.Op == wasm.OpEnd && s.Depth() < depth:
			depth, f.hoisted = 0, nil
		}
		added, err := numbers.number(f.w, in)
		if err != nil {
			return err
		}
		f.appendTries(added)
		do, c, err := f.decide(in, s)
		if err != nil {
			return err
		}
		if err := f.emitOne(do, in, c); err != nil {
			return err
		}
	}
	return s.Err()
}

func (f *function) emitOne(do action, in *wasm.Instr, c constant) error {
	stats := &f.stats
	switch do {
	case mask:
		stats.Masked++
		f.out = c.appendPlain(f.out)
	case blind:
		stats.Blinded++
		if local, ok := f.hoisted[c]; ok {
			stats.Hoisted++
			f.index(wasm.OpLocalGet, local)
			return nil
		}
		return f.blinded(c)
	case splitAway:
		stats.Split++
		access, _ := in.Op.Access()
		return f.appendAccess(in, access)
	case lookUp:
		stats.Shuffles++
		return f.appendLookUp(c)
	case pad:
		stats.Padded++
		return f.appendPadded(in)
	default:
		f.out = append(f.out, in.Bytes...)
	}
	return nil
}

// firstKept is the first local of a type that loops use: accesses and shuffles have those before.
const firstKept = 4

// appendHoisted computes the constants of a loop before it begins.
func (f *function) appendHoisted(list []constant) error {
	f.hoisted = make(map[constant]uint32, len(list))
	for i, c := range list {
		if err := f.blinded(c); err != nil {
			return err
		}
		local := f.scratch(c.typ, firstKept+i) // one loop after the other has them
		f.index(wasm.OpLocalSet, local)
		f.hoisted[c] = local
	}
	return nil
}

// blinded appends a constant, xored.
func (f *function) blinded(c constant) (err error) {
	f.out, err = c.append(f.out, &f.w.keys)
	return err
}

func (f *function) op(op wasm.Op) { f.out = wasm.AppendOp(f.out, op) }

func (f *function) index(op wasm.Op, i uint32) { f.out = wasm.AppendIndex(f.out, op, i) }

// local adds a local.
func (f *function) local(t wasm.ValType) uint32 {
	f.locals = append(f.locals, t)
	return uint32(f.fn.Params + f.fn.Locals + len(f.locals) - 1)
}

// scratch returns the n-th local of that type that holds something for one instruction's or one loop's time.
func (f *function) scratch(t wasm.ValType, n int) uint32 {
	if f.slots == nil {
		f.slots = map[slot]uint32{}
	}
	local, ok := f.slots[slot{t, n}]
	if !ok {
		local = f.local(t)
		f.slots[slot{t, n}] = local
	}
	return local
}
