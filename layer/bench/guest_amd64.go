package bench

import "usui/machine/tinyguest"

// program assembles the guest of a case: setup, then loops that the host starts one by one. Whatever loop is next, the
// guest leaves at the same instruction, so the host changes no instruction pointer.
func program(r recipe, amd bool) (*tinyguest.Program, error) {
	mode := r.mode
	if mode == tinyguest.Real {
		mode = tinyguest.Long
	}
	a := tinyguest.NewAsm(mode)
	if r.setup != nil {
		r.setup(code{a, "", amd})
	}
	a.Label("done")
	a.Out(donePort, 1)
	a.Raw(0xff, 0xe3) // jmp nextReg
	around := r.around
	if around == nil {
		around = func(code) {}
	}
	a.Label("empty")
	loop(a, amd, "empty", around)
	if r.op != nil {
		work := func(c code) { around(c); r.op(c) }
		a.Label("loop")
		loop(a, amd, "loop", work)
		a.Label("emptyStamped")
		loop(a, amd, "emptyStamped", stamped(around))
		a.Label("stamped")
		loop(a, amd, "stamped", stamped(work))
	}
	if r.handlers != nil {
		r.handlers(code{a, "", amd})
	}
	return a.Program()
}

// loop adds countReg times op.
func loop(a *tinyguest.Asm, amd bool, label string, op func(code)) {
	op(code{a, "@" + label, amd})
	a.Dec(countReg)
	a.JNZ(label)
	a.Jmp("done")
}

// loopInstructions and batchInstructions are what loop adds to each operation and to each batch, on the way from one
// exit at "done" to the next.
const (
	loopInstructions  = 2
	batchInstructions = 3
)

// stamped returns op with the time-stamp counter read before and after it. LFENCE waits for all instructions before it
// (Intel SDM volume 2, RDTSC), so nothing moves across the two reads. Reading costs RAX and RDX, which op finds as the
// batch began.
func stamped(op func(code)) func(code) {
	return func(c code) {
		readCounter(c)
		c.MovReg(stampReg, tinyguest.RAX)
		c.MovReg(tinyguest.RAX, firstRAX)
		c.MovReg(tinyguest.RDX, firstRDX)
		c.Raw(lfence...)
		op(c)
		readCounter(c)
		c.Store(8, samplesReg, 0, stampReg)
		c.Store(8, samplesReg, 8, tinyguest.RAX)
		c.Add(samplesReg, 16)
	}
}

var lfence = []byte{0x0f, 0xae, 0xe8}

// readCounter reads all 64 bits of the counter into RAX; RDX is lost.
func readCounter(c code) {
	c.Raw(lfence...)
	c.Rdtsc()
	c.Raw(lfence...)
	c.Raw(0x48, 0xc1, 0xe2, 32) // shl rdx, 32
	c.Raw(0x48, 0x09, 0xd0)     // or rax, rdx
}
