package acpi

import (
	"errors"
	"fmt"

	"usui/machine/guestmem"
)

// maxCPUs keeps the names of processors within one letter and three hexadecimal digits, and the tables within their area.
const maxCPUs = 1024

// The area where firmware of PCs leaves its tables and kernels look for the RSDP (ACPI 6.5 section 5.2.5.1).
const (
	areaStart = 0xe0000
	areaEnd   = 0x100000
)

// SleepTypeOff is the SLP_TYP that \_S5 names: a guest that powers off writes SleepTypeOff<<2 | 1<<5 (SLP_EN) to the sleep
// control register (ACPI 6.5 section 4.8.3.7).
const SleepTypeOff = 5

// Config names the parts of a machine. Addresses are guest-physical. A port, range or PowerButtonGSI of 0 means that the
// machine has no such thing; ranges must be whole, that is not wrap.
type Config struct {
	CPUs int // number of processors, 1 to 1024; their APIC ids are 0, 1, 2...

	ECAM     guestmem.Range // PCI configuration space, 1 MiB for each bus from 0 on
	Window32 guestmem.Range // PCI memory below 4 GiB
	Window64 guestmem.Range // PCI memory above

	LAPICAddr  uint32
	IOAPICAddr uint32 // its inputs are GSI 0 and up

	SerialPort uint16 // first of the 8 ports of a 16550A
	SerialIRQ  uint32 // its GSI, edge-triggered
	PanicPort  uint16 // pvpanic

	SleepControlPort, SleepStatusPort uint16 // ACPI 6.5 sections 4.8.3.7, 4.8.3.8; see SleepTypeOff
	ResetPort                         uint16 // ResetValue written there resets the machine
	ResetValue                        uint8

	PowerButtonGSI uint32 // an edge here presses the power button

	Hotplug Hotplug
}

// Hotplug names what lets PCI devices come and go while the guest runs: three registers of 32 bits, in which a bit is a slot
// (the device number on bus 0). Each must be accessed as a whole.
type Hotplug struct {
	Slots uint32 // those that take part, all but slot 0; 0: nothing comes or goes
	Port  uint16 // of the first register, see [HotplugUp]
	GSI   uint32 // level-triggered: up while HotplugUp or HotplugDown is not 0
}

// Offsets of the registers of [Hotplug].
const (
	HotplugUp    = 0 // read: slots to look at because a device came; reading clears
	HotplugDown  = 4 // read: slots that the guest is asked to eject; reading clears
	HotplugEject = 8 // write: ejects these slots

	HotplugPorts = 12

	maxSlots = 32
)

// check refuses what the tables cannot say.
func (c Config) check() error {
	if c.CPUs < 1 || c.CPUs > maxCPUs {
		return fmt.Errorf("acpi: %d processors; 1 to %d are possible", c.CPUs, maxCPUs)
	}
	if c.ECAM.Size%busSize != 0 || c.ECAM.Size > maxBuses*busSize {
		return fmt.Errorf("acpi: PCI configuration space of %#x bytes; it takes %#x for each bus, and at most %d buses", c.ECAM.Size, busSize, maxBuses)
	}
	if c.Window32.Start+c.Window32.Size > 1<<32 {
		return fmt.Errorf("acpi: PCI window [%#x, %#x) reaches beyond 4 GiB", c.Window32.Start, c.Window32.End())
	}
	if h := c.Hotplug; h.Slots&1 != 0 || h.Slots != 0 && (c.ECAM.Size == 0 || h.Port == 0 || h.GSI == 0) {
		return fmt.Errorf("acpi: hot plug of slots %#x by port %#x and interrupt %d: it takes a PCI bus, both numbers, and not slot 0", h.Slots, h.Port, h.GSI)
	}
	return nil
}

// Write puts the tables into memory below 1 MiB and returns the address of the RSDP. Memory there must be zero.
func Write(mem *guestmem.Memory, cfg Config) (rsdp uint64, err error) {
	b, err := Build(cfg, areaStart)
	if err != nil {
		return 0, err
	}
	if len(b) > areaEnd-areaStart {
		return 0, fmt.Errorf("acpi: tables of %d bytes; %d fit", len(b), areaEnd-areaStart)
	}
	dst, err := mem.Slice(areaStart, uint64(len(b)))
	if err != nil {
		return 0, fmt.Errorf("acpi: tables: %w", err)
	}
	copy(dst, b)
	return areaStart, nil
}

// Build returns the tables as they lie in memory from address base on, the RSDP first. Base must be a multiple of 16.
func Build(cfg Config, base uint64) ([]byte, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if base%tableAlign != 0 {
		return nil, errors.New("acpi: base is not on a 16-byte boundary")
	}
	b := layout{base: base, bytes: make([]byte, rsdpSize)}
	dsdt := b.add(table("DSDT", 2, dsdt(cfg)))
	pointers := []uint64{b.add(fadt(cfg, dsdt)), b.add(madt(cfg))}
	if cfg.ECAM.Size > 0 {
		pointers = append(pointers, b.add(mcfg(cfg)))
	}
	copy(b.bytes, rsdpTable(b.add(xsdt(pointers))))
	return b.bytes, nil
}

// layout collects tables one after the other.
type layout struct {
	base  uint64
	bytes []byte
}

// add appends a table on the next boundary and returns its address.
func (l *layout) add(t []byte) uint64 {
	for len(l.bytes)%tableAlign != 0 {
		l.bytes = append(l.bytes, 0)
	}
	at := l.base + uint64(len(l.bytes))
	l.bytes = append(l.bytes, t...)
	return at
}
