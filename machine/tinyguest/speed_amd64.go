package tinyguest

import "usui/machine/kvm"

const (
	loopInstructions = 2
	speedExit        = kvm.ExitIO
)

// countdown is the program that is timed: an exit, then RCX times dec and jnz, for ever. It runs in 64-bit mode,
// which every hardware KVM leaves to the processor; old ones emulate real mode.
func countdown() (*Program, error) {
	a := NewAsm(Long)
	a.Label("exit")
	a.Out(ExceptionPort, 1)
	a.Label("loop")
	a.Dec(RCX)
	a.JNZ("loop")
	a.Jmp("exit")
	return a.Program()
}

// setIterations sets how long the next loop is.
func setIterations(v *kvm.VCPU, n uint64) error {
	regs, err := v.Regs()
	if err != nil {
		return err
	}
	regs.Rcx = n
	return v.SetRegs(&regs)
}
