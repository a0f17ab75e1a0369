package bench

import (
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// instructionCases are instructions that need no more than the vCPU itself.
func instructionCases() []Case {
	const group = "instructions"
	return []Case{
		{"cpuid", group, "CPUID leaf 0, which every processor leaves the guest for", recipe{
			around:       func(c code) { c.Raw(0x31, 0xc0) }, // xor eax, eax: KVM searches longer for some leaves than for others
			op:           func(c code) { c.Cpuid() },
			instructions: 1, aroundCount: 1, exits: exactly(1),
		}},
		{"hypercall", group, "VMCALL or VMMCALL with a number that KVM refuses", recipe{
			registers:    func(r *kvm.Regs) { r.R9 = unknownHypercall },
			around:       func(c code) { c.MovReg(tinyguest.RAX, tinyguest.R9) },
			op:           hypercall,
			instructions: 1, aroundCount: 1, exits: exactly(1),
		}},
		{"pause", group, "16 times PAUSE, as a loop that waits has it", recipe{
			op: func(c code) {
				for range 16 {
					c.Pause()
				}
			},
			instructions: 16, exits: span{0, 1},
		}},
		{"invlpg", group, "INVLPG of one page", recipe{
			op:           func(c code) { c.Raw(0x41, 0x0f, 0x01, 0x7d, 0) }, // invlpg [deviceReg]
			instructions: 1, exits: span{0, 1},
		}},
		{"tsc-read", group, "RDTSC", recipe{
			op:           func(c code) { c.Rdtsc() },
			instructions: 1, exits: span{0, 1},
		}},
		{"syscall-ring3", group, "SYSCALL from ring 3 to a stub in ring 0 that returns with SYSRET", recipe{
			mode:     tinyguest.User,
			opened:   openRing3,
			op:       func(c code) { c.Syscall() },
			handlers: func(c code) { c.Label("kernel"); c.Sysret() },
			exits:    exactly(0),
		}},
	}
}

// unknownHypercall is none of include/uapi/linux/kvm_para.h: KVM answers -KVM_ENOSYS.
const unknownHypercall = 0x7fffff

// hypercall adds the instruction of this processor; the other one would be patched by KVM, which costs more.
func hypercall(c code) {
	if c.amd {
		c.Vmmcall()
		return
	}
	c.Vmcall()
}

// openRing3 lets ring 3 reach ports, and SYSCALL the stub.
func openRing3(r *rig) error {
	const star, lstar = 0xc0000081, 0xc0000082 // AMD64 manual volume 2, section 6.1.1
	kernel, err := r.guest.Program.Addr("kernel")
	if err != nil {
		return err
	}
	if _, err := r.cpu.SetMSRs([]kvm.MSREntry{{Index: star, Data: tinyguest.STAR}, {Index: lstar, Data: kernel}}); err != nil {
		return refused(err)
	}
	regs, err := r.cpu.Regs()
	if err != nil {
		return err
	}
	regs.Rflags |= 3 << 12 // I/O privilege level 3
	return r.cpu.SetRegs(&regs)
}
