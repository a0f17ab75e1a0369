package acpi

const (
	tableAlign = 16
	headerSize = 36 // ACPI 6.5 section 5.2.6
	rsdpSize   = 36 // section 5.2.5.3

	oem     = "USUI  "
	oemLong = "USUI    "
)

// table puts a header before a body (ACPI 6.5 section 5.2.6).
func table(signature string, revision byte, body []byte) []byte {
	t := make([]byte, headerSize, headerSize+len(body))
	copy(t, signature)
	le.PutUint32(t[4:], uint32(headerSize+len(body)))
	t[8] = revision
	copy(t[10:], oem)
	copy(t[16:], oemLong)
	le.PutUint32(t[24:], 1) // OEM revision
	copy(t[28:], "USUI")    // creator
	le.PutUint32(t[32:], 1) // creator revision
	t = append(t, body...)
	t[9] = checksum(t)
	return t
}

// checksum is what makes the sum of all bytes 0.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

// rsdpTable is the root pointer, revision 2 (ACPI 6.5 section 5.2.5.3). Its first checksum covers the 20 bytes of ACPI 1.0.
func rsdpTable(xsdt uint64) []byte {
	t := make([]byte, rsdpSize)
	copy(t, "RSD PTR ")
	copy(t[9:], oem)
	t[15] = 2
	le.PutUint32(t[20:], rsdpSize)
	le.PutUint64(t[24:], xsdt)
	t[8] = checksum(t[:20])
	t[32] = checksum(t)
	return t
}

// xsdt lists the other tables (ACPI 6.5 section 5.2.8).
func xsdt(pointers []uint64) []byte {
	var body []byte
	for _, p := range pointers {
		body = le.AppendUint64(body, p)
	}
	return table("XSDT", 1, body)
}

// Fields and flags of the FADT (ACPI 6.5 section 5.2.9).
const (
	fadtSize          = 276
	fadtRevision      = 6
	fadtMinor         = 5
	fadtBootArch      = 109
	fadtFlags         = 112
	fadtResetReg      = 116
	fadtResetValue    = 128
	fadtMinorVersion  = 131
	fadtXDSDT         = 140
	fadtSleepControl  = 244
	fadtSleepStatus   = 256
	bootVGAAbsent     = 1 << 2 // table 5.11; clear: no legacy devices, no 8042, MSI works
	bootNoASPM        = 1 << 4
	bootNoRTC         = 1 << 5
	flagWBINVD        = 1 << 0 // table 5.10
	flagPowerButton   = 1 << 4 // not a fixed one: a control method device or none
	flagSleepButton   = 1 << 5
	flagResetSupport  = 1 << 10
	flagReduced       = 1 << 20
	spaceIO           = 1 // table 5.1, address space of a generic address structure
	accessByte        = 1
	bootLegacyDevices = 1 << 0
)

// fadt is the fixed description of a hardware-reduced machine.
func fadt(cfg Config, dsdt uint64) []byte {
	body := make([]byte, fadtSize-headerSize)
	at := func(off int) []byte { return body[off-headerSize:] } // offsets as the specification counts them
	boot := uint16(bootVGAAbsent | bootNoASPM | bootNoRTC)
	if cfg.SerialPort != 0 {
		boot |= bootLegacyDevices
	}
	le.PutUint16(at(fadtBootArch), boot)
	flags := uint32(flagWBINVD | flagPowerButton | flagSleepButton | flagReduced)
	if cfg.ResetPort != 0 {
		flags |= flagResetSupport
	}
	le.PutUint32(at(fadtFlags), flags)
	putPort(at(fadtResetReg), cfg.ResetPort)
	at(fadtResetValue)[0] = cfg.ResetValue
	at(fadtMinorVersion)[0] = fadtMinor
	le.PutUint64(at(fadtXDSDT), dsdt)
	putPort(at(fadtSleepControl), cfg.SleepControlPort)
	putPort(at(fadtSleepStatus), cfg.SleepStatusPort)
	return table("FACP", fadtRevision, body)
}

// putPort stores the generic address structure (ACPI 6.5 section 5.2.3.2) of a port of one byte; all zero means absent.
func putPort(b []byte, port uint16) {
	if port == 0 {
		return
	}
	b[0], b[1], b[3] = spaceIO, 8, accessByte
	le.PutUint64(b[4:], uint64(port))
}

// Structures of the MADT (ACPI 6.5 section 5.2.12).
const (
	madtRevision   = 6
	madtLAPIC      = 0
	madtIOAPIC     = 1
	madtX2APIC     = 9
	madtEnabled    = 1 << 0
	firstX2APICID  = 255 // an id of one byte that means all processors
	ioapicID       = 0
	ioapicFirstGSI = 0
)

// madt lists the interrupt controllers. Its flags are 0: the machine has no 8259 that needs to be masked.
func madt(cfg Config) []byte {
	body := le.AppendUint32(nil, cfg.LAPICAddr)
	body = le.AppendUint32(body, 0)
	for id := range uint32(cfg.CPUs) {
		if id < firstX2APICID {
			body = append(body, madtLAPIC, 8, byte(id), byte(id))
			body = le.AppendUint32(body, madtEnabled)
			continue
		}
		body = append(body, madtX2APIC, 16, 0, 0)
		body = le.AppendUint32(body, id)
		body = le.AppendUint32(body, madtEnabled)
		body = le.AppendUint32(body, id)
	}
	if cfg.IOAPICAddr != 0 {
		body = append(body, madtIOAPIC, 12, ioapicID, 0)
		body = le.AppendUint32(body, cfg.IOAPICAddr)
		body = le.AppendUint32(body, ioapicFirstGSI)
	}
	return table("APIC", madtRevision, body)
}

// A PCI bus takes 1 MiB of configuration space.
const (
	busSize  = 1 << 20
	maxBuses = 256
)

func lastBus(cfg Config) uint16 { return uint16(cfg.ECAM.Size/busSize) - 1 }

// mcfg says where PCI configuration space is (PCI Firmware Specification 3.3 section 4.1.2).
func mcfg(cfg Config) []byte {
	body := make([]byte, 8, 24)
	body = le.AppendUint64(body, cfg.ECAM.Start)
	body = append(body, 0, 0, 0, byte(lastBus(cfg))) // segment, first bus, last bus
	return table("MCFG", 1, append(body, 0, 0, 0, 0))
}
