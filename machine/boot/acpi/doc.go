// Package acpi writes the tables by which a guest learns of its processors, interrupts, PCI, and power.
//
// # Place
//
// Beside machine/boot, before the first KVM_RUN: machine/vmm fills a [Config] with the addresses that it gave its devices, [Write]
// puts the tables into guest memory, and boot.Load hands their address to the kernel.
//
// # Idea
//
// The machine is a hardware-reduced one (ACPI 6.5 section 4.1): no SCI, no PM timer, no fixed buttons, no FACS, so a
// guest probes none of them. What it may touch is named: a sleep and a reset register, and devices in the DSDT. The
// firmware that assigns PCI addresses is the monitor itself. The DSDT is made by a small encoder of AML (section 20):
// each function returns the bytes of one term, so the table is written as it reads in ASL.
//
//	RSDP -> XSDT -> FADT -> DSDT: \_S5, PCI root bridge and slots, motherboard (reserves ECAM), COM1, pvpanic, button, event device, processors
//	             -> MADT: local APICs, I/O APIC
//	             -> MCFG: ECAM
//
// The motherboard device is not decoration: without configuration by ports, Linux takes ECAM only where a PNP0C02
// device reserves it (arch/x86/pci/mmconfig-shared.c). There is no _OSC: then Linux leaves PCI Express's
// own hot plug, ASPM and error reporting, none of which the machine has, alone.
//
// Devices come and go by ACPI (section 6.3), as drivers/pci/hotplug/acpiphp_glue.c of Linux wants it: each slot is a device with _ADR and
// _EJ0. Two registers say which slots have news, and an interrupt of the event device that they have. It is level-triggered: one that
// comes while a kernel boots and has no driver for the event device yet is taken later. The methods of the event device read the
// registers and notify the slots; _EJ0 writes a third.
//
// # Invariants
//
// Equal configs make equal bytes. All tables lie in [0xE0000, 0x100000), which the memory map reserves; the RSDP is
// where a search of that area finds it, on 16 bytes. Every table has a correct checksum. A device whose port or GSI is 0 is in no table.
//
// # Limits
//
// One PCI segment, no _PRT (interrupts are message-signalled), no hot plug of processors and memory, no NUMA, no C- or P-states, no DMA remapping. At
// most 1024 processors. arm64 would need GTDT and GICs in the MADT; this is x86 only.
//
// Sources: ACPI Specification 6.5; PCI Firmware Specification 3.3 section 4.1 (MCFG); QEMU docs/specs/pvpanic.rst.
package acpi
