package vmm

import "usui/machine/boot/acpi"

// I/O ports of the machine. They are named in the ACPI tables, so the numbers are free; these are what other monitors use.
const (
	serialPort = 0x3f8 // COM1
	panicPort  = 0x505 // pvpanic, as QEMU's ISA device
	powerPort  = 0x600 // SLEEP_CONTROL, SLEEP_STATUS, RESET: one byte each
	powerPorts = 3

	hotplugPort = 0x610 // see acpi.Hotplug

	sleepControl = 0
	sleepStatus  = 1
	resetControl = 2
	resetValue   = 1 // what the FADT tells the guest to write (RESET_VALUE)

	sleepEnable   = 0x20 // SLP_EN (ACPI 6.5, table 4.19)
	sleepTypeBits = 0x1c

	panicOccurred = 0x01 // the guest panicked (QEMU docs/specs/pvpanic)
	panicLoaded   = 0x02 // the guest panicked and a crash kernel will take over
)

// power is the fixed hardware of a hardware-reduced ACPI machine: the sleep registers (ACPI 6.5, 4.8.3.7) and the reset register
// (4.8.3.6). end is told once the guest asks for either.
type power struct {
	end func(Cause)
}

// Read implements [Device]. WAK_STS is never set: the machine knows no sleep that one wakes from.
func (p power) Read(_ uint64, b []byte) {
	clear(b)
}

// Write implements [Device].
func (p power) Write(off uint64, b []byte) {
	v := b[0]
	switch {
	case off == sleepControl && v&sleepEnable != 0 && v&sleepTypeBits == acpi.SleepTypeOff<<2:
		p.end(PowerOff)
	case off == resetControl && v == resetValue:
		p.end(Reset)
	}
}

// pvpanic lets a guest kernel say that it panicked (QEMU docs/specs/pvpanic).
type pvpanic struct {
	end func(Cause)
}

// Read implements [Device]: the events that are understood.
func (p pvpanic) Read(_ uint64, b []byte) {
	clear(b)
	b[0] = panicOccurred | panicLoaded
}

// Write implements [Device]. A guest with a crash kernel keeps running, to write its dump.
func (p pvpanic) Write(_ uint64, b []byte) {
	if b[0]&panicOccurred != 0 {
		p.end(Panic)
	}
}
