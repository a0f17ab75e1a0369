package bench

import (
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// Model-specific registers (Intel SDM volume 4).
const (
	msrAPICBase     = 0x1b
	msrTSCDeadline  = 0x6e0
	msrKernelGSBase = 0xc0000102
	msrNobodys      = 0x4b4d5600 // of no processor, so KVM leaves it to us
)

// Bits that the cases turn on and off.
const (
	cr0WP  = 1 << 16
	cr4PGE = 1 << 7
)

// registerCases are accesses to system registers.
func registerCases() []Case {
	const group = "registers"
	ecx := func(msr uint64) func(*kvm.Regs) {
		return func(r *kvm.Regs) { r.Rcx, r.Rax, r.Rdx = msr, 0, 0 }
	}
	return []Case{
		{"msr-read-exits", group, "RDMSR of IA32_APIC_BASE, which KVM answers", recipe{
			registers:    ecx(msrAPICBase),
			op:           func(c code) { c.Rdmsr() },
			instructions: 1, exits: exactly(1),
		}},
		{"msr-read", group, "RDMSR of KERNEL_GS_BASE, which the processor answers", recipe{
			registers:    ecx(msrKernelGSBase),
			op:           func(c code) { c.Rdmsr() },
			instructions: 1, exits: exactly(0),
		}},
		{"msr-write", group, "WRMSR of KERNEL_GS_BASE", recipe{
			registers:    ecx(msrKernelGSBase),
			op:           func(c code) { c.Wrmsr() },
			instructions: 1, exits: exactly(0),
		}},
		{"msr-read-user", group, "RDMSR of a register that this program serves", recipe{
			misfit: "KVM answers for unknown registers (parameter ignore_msrs)",
			prepare: func(vm *kvm.VM) error {
				return vm.EnableCap(kvm.CapX86UserSpaceMSR, kvm.MSRExitUnknown)
			},
			registers:    ecx(msrNobodys),
			op:           func(c code) { c.Rdmsr() },
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"tsc-deadline-arm", group, "WRMSR of IA32_TSC_DEADLINE, far ahead", recipe{
			prepare: (*kvm.VM).NewIRQChip,
			opened:  enableDeadline,
			setup:   func(c code) { apicOn(c); deadlineMode(c) },
			registers: func(r *kvm.Regs) {
				r.Rcx, r.Rax, r.Rdx = msrTSCDeadline, 0, 1<<11 // an hour: more would overflow KVM's nanoseconds
			},
			op:           func(c code) { c.Wrmsr() },
			instructions: 1, exits: exactly(1),
		}},
		{"cr0-write", group, "write of CR0 that changes WP", recipe{
			setup:        func(c code) { c.Raw(0x41, 0x0f, 0x20, 0xc1) },               // mov r9, cr0: to read it may exit too
			around:       func(c code) { c.Raw(0x49, 0x81, 0xf1, 0, 0, cr0WP>>16, 0) }, // xor r9, cr0WP
			op:           func(c code) { c.Raw(0x41, 0x0f, 0x22, 0xc1) },               // mov cr0, r9
			instructions: 1, aroundCount: 1, exits: span{0, 1},
		}},
		{"cr3-write", group, "write of CR3, the same page tables", recipe{
			setup:        func(c code) { c.Raw(0x41, 0x0f, 0x20, 0xd9) }, // mov r9, cr3
			op:           func(c code) { c.Raw(0x41, 0x0f, 0x22, 0xd9) }, // mov cr3, r9
			instructions: 1, exits: span{0, 1},
		}},
		{"cr4-write", group, "write of CR4 that changes PGE", recipe{
			setup:        func(c code) { c.Raw(0x41, 0x0f, 0x20, 0xe1) },            // mov r9, cr4
			around:       func(c code) { c.Raw(0x49, 0x81, 0xf1, cr4PGE, 0, 0, 0) }, // xor r9, cr4PGE
			op:           func(c code) { c.Raw(0x41, 0x0f, 0x22, 0xe1) },            // mov cr4, r9
			instructions: 1, aroundCount: 1, exits: span{0, 1},
		}},
		{"cr8-write", group, "write of CR8, the task priority", recipe{
			prepare:      (*kvm.VM).NewIRQChip,
			registers:    func(r *kvm.Regs) { r.Rax = 0 },
			op:           func(c code) { c.Raw(0x44, 0x0f, 0x22, 0xc0) }, // mov cr8, rax
			instructions: 1, exits: span{0, 1},
		}},
		{"dr7-write", group, "write of DR7, no breakpoint set", recipe{
			registers:    func(r *kvm.Regs) { r.Rax = 0x400 },      // the bit that is always set
			op:           func(c code) { c.Raw(0x0f, 0x23, 0xf8) }, // mov dr7, rax
			instructions: 1, exits: span{0, 1},
		}},
	}
}

// writeMSR adds a write of a constant to a model-specific register.
func writeMSR(c code, msr, value uint64) {
	c.Mov(tinyguest.RCX, msr)
	c.Mov(tinyguest.RAX, value&0xffffffff)
	c.Mov(tinyguest.RDX, value>>32)
	c.Wrmsr()
}

// writeMSRInstructions is what writeMSR is made of.
const writeMSRInstructions = 4
