package vmm

import (
	"context"
	"fmt"
	"io"

	"usui/machine/boot"
	"usui/machine/boot/acpi"
	"usui/machine/guestmem"
	"usui/machine/kvm"
)

// hostCPUID are the CPUID leaves that KVM supports.
type hostCPUID []kvm.CPUIDEntry2

// newChips makes KVM's PIC, I/O APIC and local APICs, once it is sure that the processor reaches what the machine is to have. The
// 8259s come with the set but no table tells the guest of them, and there is no PIT: a hardware-reduced ACPI machine has neither, and
// kernels spend time on probing them.
func (m *Machine) newChips() (err error) {
	if m.cpuid, err = m.sys.SupportedCPUID(); err != nil {
		return err
	}
	if err := m.cpuid.checkReach(window64(m.mem)); err != nil {
		return fmt.Errorf("%d MiB of memory: %w", m.mem.Size()>>20, err)
	}
	if err := m.vm.SetIdentityMapAddr(identityMapAddr); err != nil {
		return err
	}
	if err := m.vm.SetTSSAddr(tssAddr); err != nil {
		return err
	}
	return m.vm.NewIRQChip()
}

// appendPins adds the I/O APIC's own inputs to a routing table, one to one.
func appendPins(table []kvm.IRQRoute) []kvm.IRQRoute {
	for pin := range uint32(ioapicPins) {
		table = append(table, kvm.ChipRoute(pin, kvm.IRQChipIOAPIC, pin))
	}
	return table
}

// checkMSI refuses addresses that are no interrupt on this architecture (Intel SDM volume 3, 11.11.1): the guest meant memory, and KVM would
// deliver to whatever the bits happen to name.
func checkMSI(addr uint64) error {
	if addr>>20 != lapicAddr>>20 {
		return fmt.Errorf("message-signalled interrupt to %#x: not in %#x-%#x", addr, lapicAddr, lapicAddr+0xfffff)
	}
	return nil
}

// buildBuses makes the platform devices and the tables that vCPUs dispatch by.
func (m *Machine) buildBuses(cfg Config) error {
	out := cfg.Serial
	if out == nil {
		out = io.Discard
	}
	irq, err := m.newLine(serialIRQ)
	if err != nil {
		return err
	}
	if m.button, err = m.newLine(buttonIRQ); err != nil {
		return err
	}
	m.serial = newSerial(out, irq)
	m.slots.raise = func(up bool) error { return m.vm.IRQLine(hotplugIRQ, up) }
	ports := func(start, n uint64) guestmem.Range { return guestmem.Range{Start: start, Size: n} }
	if m.ports, err = newBus([]busEntry{
		{"serial", ports(serialPort, 8), m.serial},
		{"pvpanic", ports(panicPort, 1), pvpanic{m.end}},
		{"power", ports(powerPort, powerPorts), power{m.end}},
		{"hot plug", ports(hotplugPort, acpi.HotplugPorts), m.slots},
	}); err != nil {
		return err
	}
	m.mmio, err = newBus([]busEntry{
		{"pci configuration", ecam, m.pci.Config()},
		{"pci memory", window32, m.pci.Window32()},
		{"pci memory above 4 GiB", window64(m.mem), m.pci.Window64()},
	})
	return err
}

// resetVector is all the firmware there is: where a processor would start after a reset (Intel SDM volume 3, 10.1.4, below 1 MiB), the
// machine resets. Linux jumps there when hardware-reduced ACPI makes it expect EFI to reset and there is none
// (drivers/firmware/efi/reboot.c, efi_reboot_required).
var resetVector = []byte{
	0xb0, resetValue, // mov al, resetValue
	0xba, (powerPort + resetControl) & 0xff, (powerPort + resetControl) >> 8, // mov dx, port
	0xee,       // out dx, al
	0xf4,       // hlt
	0xeb, 0xfd, // jmp to the hlt
}

const resetVectorAddr = 0xf_fff0 // f000:fff0

// load writes the tables and the kernel into memory.
func (m *Machine) load(ctx context.Context, cfg Config) (boot.Entry, error) {
	rsdp, err := acpi.Write(m.mem, acpi.Config{
		CPUs: cfg.CPUs, ECAM: ecam, Window32: window32, Window64: window64(m.mem), IOAPICAddr: ioapicAddr, LAPICAddr: lapicAddr,
		SerialPort: serialPort, SerialIRQ: serialIRQ, PanicPort: panicPort, PowerButtonGSI: buttonIRQ,
		SleepControlPort: powerPort + sleepControl, SleepStatusPort: powerPort + sleepStatus,
		ResetPort: powerPort + resetControl, ResetValue: resetValue,
		Hotplug: acpi.Hotplug{Slots: m.slots.mask(), Port: hotplugPort, GSI: hotplugIRQ},
	})
	if err != nil {
		return boot.Entry{}, err
	}
	if _, err := m.mem.WriteAt(resetVector, resetVectorAddr); err != nil {
		return boot.Entry{}, err
	}
	return boot.Load(ctx, boot.Config{
		Kernel: cfg.Kernel, Initrd: cfg.Initrd, Cmdline: cfg.Cmdline, Memory: m.mem, RSDP: rsdp, Reserved: []guestmem.Range{ecam},
	})
}

// Model-specific registers that firmware would have set (Intel SDM volume 4, table 2-2).
const (
	msrMiscEnable = 0x1a0
	miscFastMove  = 1 // fast string operations
	msrMTRRType   = 0x2ff
	mtrrEnabled   = 0x800 // E
	mtrrWriteBack = 6     // default type: all of memory is write-back
)

// newVCPU makes vCPU id of n. The first stands at the kernel's entry; the others wait for the first to start them (INIT, SIPI).
func (m *Machine) newVCPU(id, n int, entry boot.Entry) (_ *vcpu, err error) {
	c := &vcpu{machine: m}
	if c.kvm, err = m.vm.NewVCPU(id); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.kvm.Close()
		}
	}()
	deadline, err := m.vm.Extension(kvm.CapTSCDeadlineTimer)
	if err != nil {
		return nil, err
	}
	if err := c.kvm.SetCPUID2(guestCPUID(m.cpuid, id, n, deadline != 0)); err != nil {
		return nil, err
	}
	if _, err := c.kvm.SetMSRs([]kvm.MSREntry{
		{Index: msrMiscEnable, Data: miscFastMove},
		{Index: msrMTRRType, Data: mtrrEnabled | mtrrWriteBack},
	}); err != nil {
		return nil, err
	}
	if id > 0 {
		return c, nil
	}
	return c, c.enter(entry)
}

// enter sets the registers that the boot protocol asks for.
func (c *vcpu) enter(entry boot.Entry) error {
	sregs, err := c.kvm.Sregs()
	if err != nil {
		return err
	}
	setSystemRegisters(&sregs, entry)
	if err := c.kvm.SetSregs(&sregs); err != nil {
		return err
	}
	return c.kvm.SetRegs(&kvm.Regs{Rip: entry.RIP, Rsi: entry.RSI, Rbx: entry.RBX, Rflags: 2}) // bit 1 of RFLAGS is always set
}

// unexpected describes an exit that ends the machine: KVM could not run the guest on.
func (c *vcpu) unexpected(reason kvm.ExitReason) error {
	where := ""
	if regs, err := c.kvm.Regs(); err == nil {
		where = fmt.Sprintf(" at rip %#x", regs.Rip)
	}
	switch reason {
	case kvm.ExitInternalError:
		return fmt.Errorf("vcpu %d%s: KVM cannot go on: %v", c.kvm.ID(), where, c.kvm.InternalError())
	case kvm.ExitFailEntry:
		return fmt.Errorf("vcpu %d%s: the processor refused to enter the guest: %v", c.kvm.ID(), where, c.kvm.FailEntry())
	}
	return fmt.Errorf("vcpu %d%s: exit %v: this machine gives the guest nothing that exits so", c.kvm.ID(), where, reason)
}
