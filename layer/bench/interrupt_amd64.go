package bench

import (
	"usui/host/eventfd"
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// Registers of the local APIC in x2APIC mode (Intel SDM volume 3, section 10.12).
const (
	x2apicEOI     = 0x80b
	x2apicSpur    = 0x80f
	x2apicICR     = 0x830
	x2apicTimer   = 0x832
	x2apicSelfIPI = 0x83f

	apicEnabled    = 0x1ff   // in the spurious-vector register: on, vector 0xff
	timerDeadline  = 2 << 17 // in the timer's: one interrupt, at IA32_TSC_DEADLINE
	apicBaseX2APIC = 3 << 10 // in IA32_APIC_BASE: on, in x2APIC mode
	toCPU1         = 1       // in the upper half of ICR
	msiAddr        = 0xfee00000

	vector = 0x50
	gsi    = 40 // behind the I/O APIC's lines
)

// interruptCases are interrupts, from where they are made to the handler's first store, and their ends.
func interruptCases() []Case {
	return append(ownInterruptCases(), outsideCases()...)
}

// interruptible is what a guest needs that takes interrupts in its loop. The handler does not return with IRET, which
// KVM's emulator cannot do: it drops the frame and jumps to where the operation wants it, interrupts off.
func interruptible(rec recipe) recipe {
	rec.prepare = (*kvm.VM).NewIRQChip
	if rec.opened == nil {
		rec.opened = enableX2APIC
	}
	rec.vectors = map[uint8]string{vector: "handler"}
	rec.handled = true
	if rec.setup == nil {
		rec.setup = apicOn
	}
	rec.handlers = func(c code) {
		c.Label("handler")
		c.Inc(handledReg)
		endInterrupt(c)
	}
	return rec
}

const handlerInstructions = 1 + writeMSRInstructions + 2

// endInterrupt ends an interrupt and goes on at backReg.
func endInterrupt(c code) {
	writeMSR(c, x2apicEOI, 0)
	c.Add(tinyguest.RSP, 5*8)
	c.Raw(0x41, 0xff, 0xe3) // jmp backReg
}

// ownInterruptCases are interrupts that a guest sends to itself or to its other vCPU.
func ownInterruptCases() []Case {
	const group = "interrupts"
	return []Case{
		{"eoi", group, "end of the interrupt in service, in x2APIC mode", recipe{
			prepare: (*kvm.VM).NewIRQChip, opened: enableX2APIC, setup: apicOn,
			registers:    func(r *kvm.Regs) { r.Rcx, r.Rax, r.Rdx = x2apicEOI, 0, 0 },
			reset:        serveAll,
			op:           func(c code) { c.Wrmsr() },
			instructions: 1, exits: span{0, 1}, limit: inService, whole: true,
		}},
		{"self-ipi", group, "x2APIC self-IPI, its handler and its end", interruptible(recipe{
			op: func(c code) {
				c.MovLabel(backReg, c.local("back"))
				writeMSR(c, x2apicSelfIPI, vector)
				wait(c)
			},
			instructions: 1 + writeMSRInstructions + 1 + handlerInstructions, spins: true, exits: span{0, 4},
		})},
		{"tsc-deadline", group, "TSC deadline that is past, its handler and its end", interruptible(recipe{
			opened: enableDeadline,
			setup:  func(c code) { apicOn(c); deadlineMode(c) },
			op: func(c code) {
				c.MovLabel(backReg, c.local("back"))
				writeMSR(c, msrTSCDeadline, 1)
				wait(c)
			},
			instructions: 1 + writeMSRInstructions + 1 + handlerInstructions, spins: true, exits: span{0, 5},
		})},
		{"ipi-running", group, "IPI to a vCPU that computes, until its handler's store is seen", ipi(c1Spins, false)},
		{"ipi-halted", group, "IPI to a vCPU that sleeps in HLT, until its handler's store is seen", ipi(c1Halts, true)},
	}
}

// inService is how many interrupts can be in service: all vectors that an interrupt may have.
const inService = 256 - 16

// serveAll puts them there. Each end of interrupt is that of the highest one.
func serveAll(r *rig) error {
	const isr = 0x100 // 8 registers of 32 bits, each 16 bytes from the last (Intel SDM volume 3, section 10.8.4)
	state, err := r.cpu.LAPIC()
	if err != nil {
		return err
	}
	for vector := 256 - inService; vector < 256; vector++ {
		state.Regs[isr+vector/32*16+vector%32/8] |= 1 << (vector % 8)
	}
	return r.cpu.SetLAPIC(&state)
}

// wait waits for the interrupt that ends the operation. PAUSE would exit now and then.
func wait(c code) {
	c.Sti()
	c.Label(c.local("wait"))
	c.Nop()
	c.Jmp(c.local("wait"))
	c.Label(c.local("back"))
}

// c1Spins and c1Halts are how a vCPU waits.
func c1Spins(c code) { c.Nop() }
func c1Halts(c code) { c.Hlt() }

// teller is a vCPU that does nothing but wait for interrupts, and counts them where others see it.
func teller(idle func(code)) func(code) {
	return func(c code) {
		c.Label("second")
		apicOn(c)
		c.Mov(handledReg, 0)
		c.Mov(tinyguest.R9, sharedAddr)
		c.MovLabel(backReg, "idle")
		c.Out(donePort, 1)
		c.Label("idle")
		c.Sti()
		c.Label("idling")
		idle(c)
		c.Jmp("idling")
		c.Label("tell")
		c.Inc(handledReg)
		c.Store(8, tinyguest.R9, 0, handledReg)
		endInterrupt(c)
	}
}

// ipi is an IPI to vCPU 1, which waits as idle does. Each is a batch of its own: the vCPU has ended the one before only some time after
// it has told of it.
func ipi(idle func(code), halts bool) recipe {
	return recipe{
		prepare: unpolled, opened: enableX2APIC, setup: apicOn, second: true, halts: halts,
		vectors:   map[uint8]string{vector: "tell"},
		handlers:  teller(idle),
		reset:     (*rig).settle,
		registers: func(r *kvm.Regs) { r.Rcx, r.Rax, r.Rdx, r.R9 = x2apicICR, vector, toCPU1, sharedAddr },
		around:    func(c code) { c.Load(8, tinyguest.R8, tinyguest.R9, 0) },
		op: func(c code) {
			c.Wrmsr()
			c.Label(c.local("wait"))
			c.Raw(0x4d, 0x39, 0x01) // cmp [r9], r8
			c.JZ(c.local("wait"))
		},
		instructions: 3, aroundCount: 1, spins: true, exits: span{0, 2}, limit: 1, whole: true,
	}
}

// unpolled makes interrupt controllers, and lets a vCPU in HLT sleep at once. Else KVM polls for what may wake it, for as long as it
// has learned from earlier sleeps (Documentation/virt/kvm/halt-polling.rst): which of the two is measured would depend on that.
func unpolled(vm *kvm.VM) error {
	if err := vm.EnableCap(kvm.CapHaltPoll, 0); err != nil {
		return err
	}
	return vm.NewIRQChip()
}

// outsideCases are things that one thread does to a guest that runs on another.
func outsideCases() []Case {
	const group = "interrupts"
	listening := func(idle func(code), exits span, fire func(*rig) (func() error, error)) recipe {
		return recipe{
			prepare: unpolled, opened: enableX2APIC, vectors: map[uint8]string{vector: "tell"},
			handlers: teller(idle), fire: fire, spins: true, exits: exits,
		}
	}
	halted := listening(c1Halts, span{0, 5}, fireIRQFD)
	halted.halts = true
	return []Case{
		{"irqfd-running", group, "write to an irqfd until the handler's store is seen, the guest computes", listening(c1Spins, span{0, 3}, fireIRQFD)},
		{"irqfd-halted", group, "write to an irqfd until the handler's store is seen, the guest sleeps in HLT", halted},
		{"msi-running", group, "KVM_SIGNAL_MSI until the handler's store is seen, the guest computes", listening(c1Spins, span{0, 3}, fireMSI)},
		{"kick-running", group, "kick of a vCPU that computes until KVM_RUN has returned", recipe{
			prepare: (*kvm.VM).NewIRQChip, opened: enableX2APIC, handlers: teller(c1Spins), vectors: map[uint8]string{vector: "tell"},
			fire:  func(r *rig) (func() error, error) { return func() error { r.cpu.Kick(); return nil }, nil },
			spins: true, exits: span{0, 1}, ends: true,
		}},
	}
}

func fireIRQFD(r *rig) (func() error, error) {
	fd, err := eventfd.New()
	if err != nil {
		return nil, err
	}
	r.own(fd.Close)
	if err := r.guest.VM.SetGSIRouting([]kvm.IRQRoute{kvm.MSIRoute(gsi, msiAddr, vector)}); err != nil {
		return nil, refused(err)
	}
	if err := r.guest.VM.IRQFD(int(fd.Fd()), gsi); err != nil {
		return nil, refused(err)
	}
	return fd.Signal, nil
}

func fireMSI(r *rig) (func() error, error) {
	return func() error {
		_, err := r.guest.VM.SignalMSI(kvm.MSI{Addr: msiAddr, Data: vector})
		return err
	}, nil
}

// enableX2APIC puts the local APICs into x2APIC mode.
func enableX2APIC(r *rig) error {
	for _, v := range r.guest.CPUs {
		sregs, err := v.Sregs()
		if err != nil {
			return err
		}
		sregs.ApicBase |= apicBaseX2APIC
		if err := v.SetSregs(&sregs); err != nil {
			return refused(err)
		}
	}
	return nil
}

// enableDeadline is enableX2APIC for guests that use IA32_TSC_DEADLINE. Not all kernels offer it among the leaves that
// they support, as it takes interrupt controllers in the kernel.
func enableDeadline(r *rig) error {
	const leaf, deadline = 1, 1 << 24 // in ECX
	if n, err := r.machine.system.Extension(kvm.CapTSCDeadlineTimer); err != nil || n == 0 {
		return na("this KVM has no TSC deadline timer")
	}
	leaves, err := r.cpu.CPUID2()
	if err != nil {
		return err
	}
	for i := range leaves {
		if leaves[i].Function == leaf {
			leaves[i].Ecx |= deadline
		}
	}
	if err := r.cpu.SetCPUID2(leaves); err != nil {
		return refused(err)
	}
	return enableX2APIC(r)
}

// apicOn switches the local APIC on.
func apicOn(c code) { writeMSR(c, x2apicSpur, apicEnabled) }

// deadlineMode makes the local APIC's timer listen to IA32_TSC_DEADLINE.
func deadlineMode(c code) { writeMSR(c, x2apicTimer, timerDeadline|vector) }
