package tinyguest

import "usui/machine/kvm"

const (
	loopInstructions = 2
	speedExit        = kvm.ExitMMIO
)

// countdown is the program that is timed: an exit (a store to address 0, where no memory is), then X0 times subs and
// b.ne, for ever.
func countdown() (*Program, error) {
	a := NewAsm(EL1)
	a.Mov(1, 0)
	a.Label("exit")
	a.Store(4, 1, 0, 0)
	a.Label("loop")
	a.Subs(0, 0, 1)
	a.BNE("loop")
	a.B("exit")
	return a.Program()
}

// setIterations sets how long the next loop is.
func setIterations(v *kvm.VCPU, n uint64) error { return v.SetOneReg(kvm.RegX0, n) }
