package acpi

import "fmt"

// buttonPressed is the notification of a power button (ACPI 6.5 section 5.6.6, table 5.158).
const buttonPressed = 0x80

// dsdt is the definition block.
func dsdt(cfg Config) []byte {
	var devices []term
	if cfg.ECAM.Size > 0 {
		devices = append(devices, rootBridge(cfg), motherboard(cfg))
	}
	if cfg.SerialPort != 0 {
		devices = append(devices, device("COM1",
			name("_HID", eisaID("PNP0501")),
			name("_UID", integer(1)),
			name("_CRS", resources(ioPorts(cfg.SerialPort, 8), interrupt(cfg.SerialIRQ)))))
	}
	if cfg.PanicPort != 0 {
		devices = append(devices, device("PEVT",
			name("_HID", text("QEMU0001")),
			name("_CRS", resources(ioPorts(cfg.PanicPort, 1)))))
	}
	if cfg.PowerButtonGSI != 0 {
		devices = append(devices, powerButton(cfg.PowerButtonGSI)...)
	}
	for id := range cfg.CPUs {
		devices = append(devices, processor(id))
	}
	return join(
		name("_S5_", pack(integer(SleepTypeOff), integer(0), integer(0), integer(0))),
		scope("_SB_", devices...))
}

// rootBridge is the PCI Express root complex (PCI Firmware Specification 3.3 section 4.1; ACPI 6.5 section 6.5).
func rootBridge(cfg Config) term {
	windows := [][]byte{busNumbers(0, lastBus(cfg))}
	if cfg.Window32.Size > 0 {
		windows = append(windows, memoryWindow(cfg.Window32))
	}
	if cfg.Window64.Size > 0 {
		windows = append(windows, memoryWindow(cfg.Window64))
	}
	return device("PCI0",
		name("_HID", eisaID("PNP0A08")),
		name("_CID", eisaID("PNP0A03")),
		name("_UID", integer(0)),
		name("_SEG", integer(0)),
		name("_BBN", integer(0)),
		name("_CRS", resources(windows...)))
}

// motherboard reserves PCI configuration space, as PCI Firmware Specification 3.3 section 4.1.2 asks.
func motherboard(cfg Config) term {
	return device("MBRD",
		name("_HID", eisaID("PNP0C02")),
		name("_UID", integer(0)),
		name("_CRS", resources(memoryFixed(cfg.ECAM))))
}

// powerButton is a control-method button (ACPI 6.5 section 4.8.3.2.1) and the event device (section 5.6.9) that presses it.
func powerButton(gsi uint32) []term {
	return []term{
		device("PWRB", name("_HID", eisaID("PNP0C0C"))),
		device("GED_",
			name("_HID", text("ACPI0013")),
			name("_UID", integer(0)),
			name("_CRS", resources(interrupt(gsi))),
			method("_EVT", methodSerialized|1, notify("PWRB", buttonPressed))),
	}
}

// processor is a processor device, found in the MADT by its _UID (ACPI 6.5 section 8.4).
func processor(id int) term {
	return device(fmt.Sprintf("C%03X", id),
		name("_HID", text("ACPI0007")),
		name("_UID", integer(uint64(id))))
}
