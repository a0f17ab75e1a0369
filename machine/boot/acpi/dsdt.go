package acpi

import "fmt"

// Notifications (ACPI 6.5 section 5.6.6, tables 5.157 and 5.158).
const (
	deviceCheck   = 0x01 // look whether a device has come
	ejectRequest  = 0x03 // let go of the device, then call its _EJ0
	buttonPressed = 0x80
)

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
			name("_CRS", resources(ioPorts(cfg.SerialPort, 8), interrupt(cfg.SerialIRQ, interruptEdge)))))
	}
	if cfg.PanicPort != 0 {
		devices = append(devices, device("PEVT",
			name("_HID", text("QEMU0001")),
			name("_CRS", resources(ioPorts(cfg.PanicPort, 1)))))
	}
	if cfg.PowerButtonGSI != 0 {
		devices = append(devices, device("PWRB", name("_HID", eisaID("PNP0C0C")))) // a control-method button (section 4.8.3.2.1)
	}
	if cfg.PowerButtonGSI != 0 || cfg.Hotplug.Slots != 0 {
		devices = append(devices, eventDevice(cfg))
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
		name("_CRS", resources(windows...)),
		hotplug(cfg.Hotplug))
}

// hotplug is the slots whose devices come and go (section 6.3), the registers that say which, and PLUG, which tells the drivers.
// A slot without _STA is looked for on the bus (Linux, drivers/pci/hotplug/acpiphp_glue.c).
func hotplug(h Hotplug) term {
	if h.Slots == 0 {
		return nil
	}
	terms := []term{ports("HPIO", h.Port, HotplugPorts), registers("HPIO", "HPUP", "HPDN", "HPEJ")}
	var tell []term
	for slot := range maxSlots {
		if h.Slots>>slot&1 == 0 {
			continue
		}
		seg, bit := fmt.Sprintf("S%03X", slot), integer(1<<slot)
		terms = append(terms, device(seg,
			name("_ADR", integer(uint64(slot)<<16)), // device number, function 0 (section 6.1.1)
			name("_SUN", integer(uint64(slot))),
			method("_EJ0", 1, store(bit, "HPEJ"))))
		tell = append(tell, when(and(arg0, bit), notify(seg, arg1)))
	}
	return join(append(terms,
		method("TELL", 2, tell...),
		method("PLUG", methodSerialized,
			call("TELL", term("HPUP"), integer(deviceCheck)),
			call("TELL", term("HPDN"), integer(ejectRequest))))...)
}

// motherboard reserves PCI configuration space, as PCI Firmware Specification 3.3 section 4.1.2 asks.
func motherboard(cfg Config) term {
	return device("MBRD",
		name("_HID", eisaID("PNP0C02")),
		name("_UID", integer(0)),
		name("_CRS", resources(memoryFixed(cfg.ECAM))))
}

// eventDevice turns interrupts into what the drivers of other devices are told (section 5.6.9).
func eventDevice(cfg Config) term {
	var interrupts [][]byte
	var events []term
	if gsi := cfg.PowerButtonGSI; gsi != 0 {
		interrupts = append(interrupts, interrupt(gsi, interruptEdge))
		events = append(events, when(equal(arg0, integer(uint64(gsi))), notify("PWRB", integer(buttonPressed))))
	}
	if cfg.Hotplug.Slots != 0 {
		interrupts = append(interrupts, interrupt(cfg.Hotplug.GSI, interruptLevel))
		events = append(events, when(equal(arg0, integer(uint64(cfg.Hotplug.GSI))), call("^^\x2ePCI0PLUG"))) // two segments
	}
	return device("GED_",
		name("_HID", text("ACPI0013")),
		name("_UID", integer(0)),
		name("_CRS", resources(interrupts...)),
		method("_EVT", methodSerialized|1, events...))
}

// processor is a processor device, found in the MADT by its _UID (ACPI 6.5 section 8.4).
func processor(id int) term {
	return device(fmt.Sprintf("C%03X", id),
		name("_HID", text("ACPI0007")),
		name("_UID", integer(uint64(id))))
}
