package acpi

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usui/host/need"
	"usui/machine/guestmem"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// full is a machine with every part.
func full(cpus int) Config {
	return Config{
		CPUs: cpus, ECAM: guestmem.Range{Start: 0xe0000000, Size: 1 << 20},
		Window32:  guestmem.Range{Start: 0xc0000000, Size: 0x20000000},
		Window64:  guestmem.Range{Start: 0x800000000, Size: 0x800000000},
		LAPICAddr: 0xfee00000, IOAPICAddr: 0xfec00000, SerialPort: 0x3f8, SerialIRQ: 4, PanicPort: 0x505,
		SleepControlPort: 0x600, SleepStatusPort: 0x601, ResetPort: 0x602, ResetValue: 0x42, PowerButtonGSI: 10,
		Hotplug: Hotplug{Slots: 1<<1 | 1<<31, Port: 0x610, GSI: 11},
	}
}

// highECAM is a machine whose configuration space lies above 4 GiB, and that has no more than PCI.
func highECAM() Config {
	return Config{CPUs: 1, ECAM: guestmem.Range{Start: 1 << 40, Size: 256 << 20}, LAPICAddr: 0xfee00000, IOAPICAddr: 0xfec00000}
}

const testBase = 0xe0000

func build(t *testing.T, cfg Config) map[string][]byte {
	t.Helper()
	b, err := Build(cfg, testBase)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, b)
}

// follow finds the tables from the RSDP on, as a guest does, and checks each one's length and checksum.
func follow(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	at := func(addr uint64) []byte {
		t.Helper()
		if addr < testBase || addr+headerSize > testBase+uint64(len(b)) || addr%16 != 0 {
			t.Fatalf("a table at %#x, outside [%#x, %#x) or unaligned", addr, testBase, testBase+len(b))
		}
		table := b[addr-testBase:]
		n := int(le.Uint32(table[4:]))
		if n < headerSize || n > len(table) {
			t.Fatalf("table %q has %d bytes", table[:4], n)
		}
		if sum := checksum(table[:n]); sum != 0 {
			t.Errorf("table %q: checksum is off by %d", table[:4], sum)
		}
		if string(table[10:16]) != "USUI  " {
			t.Errorf("table %q: OEM id %q", table[:4], table[10:16])
		}
		return table[:n]
	}
	if string(b[:8]) != "RSD PTR " || b[15] != 2 || le.Uint32(b[20:]) != 36 || checksum(b[:20]) != 0 || checksum(b[:36]) != 0 || le.Uint32(b[16:]) != 0 {
		t.Errorf("RSDP = % x", b[:36])
	}
	xsdt := at(le.Uint64(b[24:]))
	tables := map[string][]byte{"XSDT": xsdt}
	for p := xsdt[36:]; len(p) > 0; p = p[8:] {
		table := at(le.Uint64(p))
		tables[string(table[:4])] = table
	}
	tables["DSDT"] = at(le.Uint64(tables["FACP"][140:]))
	return tables
}

func TestRootTables(t *testing.T) {
	tables := build(t, full(2))
	names := slices.Sorted(func(yield func(string) bool) {
		for n := range tables {
			if !yield(n) {
				return
			}
		}
	})
	if want := []string{"APIC", "DSDT", "FACP", "MCFG", "XSDT"}; !slices.Equal(names, want) {
		t.Errorf("tables %v, want %v", names, want)
	}
	if _, ok := build(t, Config{CPUs: 1})["MCFG"]; ok {
		t.Error("an MCFG without configuration space")
	}
}

func TestFADT(t *testing.T) {
	f := build(t, full(1))["FACP"]
	if len(f) != 276 || f[8] != 6 || f[131] != 5 {
		t.Errorf("%d bytes, revision %d.%d, want 276 of 6.5", len(f), f[8], f[131])
	}
	// WBINVD, no fixed power and sleep button, reset register, hardware-reduced.
	if got, want := le.Uint32(f[112:]), uint32(1|1<<4|1<<5|1<<10|1<<20); got != want {
		t.Errorf("flags = %#x, want %#x", got, want)
	}
	// Legacy devices (COM1), no VGA, no ASPM, no RTC; not: 8042, "MSI not supported".
	if got, want := le.Uint16(f[109:]), uint16(1|1<<2|1<<4|1<<5); got != want {
		t.Errorf("IAPC_BOOT_ARCH = %#x, want %#x", got, want)
	}
	for off, port := range map[int]byte{116: 0x02, 244: 0x00, 256: 0x01} {
		if want := []byte{1, 8, 0, 1, port, 6, 0, 0, 0, 0, 0, 0}; !bytes.Equal(f[off:off+12], want) {
			t.Errorf("address structure at %d = % x, want % x", off, f[off:off+12], want)
		}
	}
	if f[128] != 0x42 {
		t.Errorf("RESET_VALUE = %#x, want 0x42", f[128])
	}
	for _, fixed := range [][2]int{{36, 44}, {46, 109}, {148, 244}} { // FACS, DSDT; SCI to century; fixed register blocks
		if len(bytes.Trim(f[fixed[0]:fixed[1]], "\x00")) > 0 {
			t.Errorf("fixed hardware at %d: % x", fixed[0], f[fixed[0]:fixed[1]])
		}
	}
	bare := build(t, Config{CPUs: 1})["FACP"]
	if le.Uint32(bare[112:])&(1<<10) != 0 || le.Uint16(bare[109:])&1 != 0 || len(bytes.Trim(bare[116:129], "\x00")) > 0 {
		t.Error("a reset register or a legacy device that is not there")
	}
}

func TestMADT(t *testing.T) {
	const cpus = 300
	m := build(t, full(cpus))["APIC"]
	if le.Uint32(m[36:]) != 0xfee00000 || le.Uint32(m[40:]) != 0 {
		t.Errorf("local APICs at %#x, flags %#x", le.Uint32(m[36:]), le.Uint32(m[40:]))
	}
	entries := m[44:]
	for id := range uint32(cpus) {
		var gotID, uid, flags uint32
		switch n := entries[1]; {
		case entries[0] == 0 && n == 8 && id < 255:
			uid, gotID, flags = uint32(entries[2]), uint32(entries[3]), le.Uint32(entries[4:])
		case entries[0] == 9 && n == 16 && id >= 255:
			gotID, flags, uid = le.Uint32(entries[4:]), le.Uint32(entries[8:]), le.Uint32(entries[12:])
		default:
			t.Fatalf("processor %d: entry of type %d, %d bytes", id, entries[0], n)
		}
		if gotID != id || uid != id || flags != 1 {
			t.Fatalf("processor %d: APIC id %d, uid %d, flags %#x", id, gotID, uid, flags)
		}
		entries = entries[entries[1]:]
	}
	if want := []byte{1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0}; !bytes.Equal(entries, want) {
		t.Errorf("after the processors: % x, want the I/O APIC: % x", entries, want)
	}
}

func TestMCFG(t *testing.T) {
	one := build(t, full(1))["MCFG"][36:]
	if want := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(one, want) {
		t.Errorf("one bus: % x, want % x", one, want)
	}
	all := build(t, highECAM())["MCFG"][36:]
	if le.Uint64(all[8:]) != 1<<40 || all[18] != 0 || all[19] != 255 {
		t.Errorf("256 buses: % x", all)
	}
}

// TestDSDT compares the namespace as a reader of AML sees it.
func TestDSDT(t *testing.T) {
	want := `
Name _S5_ {5 0 0 0}
Scope _SB_
  Device PCI0
    Name _HID PNP0A08
    Name _CID PNP0A03
    Name _UID 0
    Name _SEG 0
    Name _BBN 0
    Name _CRS [bus 0-0 +0 len 1 flags c] [mem32 c0000000-dfffffff +0 len 20000000 flags c] [mem64 800000000-fffffffff +0 len 800000000 flags c]
    Region HPIO space 1 610 +c
    Field of HPIO flags 3: HPUP 32 HPDN 32 HPEJ 32
    Device S001
      Name _ADR 10000
      Name _SUN 1
      Method _EJ0 1: HPEJ = 2
    Device S01F
      Name _ADR 1f0000
      Name _SUN 1f
      Method _EJ0 1: HPEJ = 80000000
    Method TELL 2: if Arg0 & 2 { Notify S001 Arg1 }; if Arg0 & 80000000 { Notify S01F Arg1 }
    Method PLUG 8: TELL HPUP 1; TELL HPDN 3
  Device MBRD
    Name _HID PNP0C02
    Name _UID 0
    Name _CRS [fixed e0000000 len 100000 rw 1]
  Device COM1
    Name _HID PNP0501
    Name _UID 1
    Name _CRS [io 3f8-3f8 align 1 len 8] [irq flags 3 4]
  Device PEVT
    Name _HID "QEMU0001"
    Name _CRS [io 505-505 align 1 len 1]
  Device PWRB
    Name _HID PNP0C0C
  Device GED_
    Name _HID "ACPI0013"
    Name _UID 0
    Name _CRS [irq flags 3 a] [irq flags 1 b]
    Method _EVT 9: if Arg0 == a { Notify PWRB 80 }; if Arg0 == b { ^^.PCI0PLUG }
  Device C000
    Name _HID "ACPI0007"
    Name _UID 0
  Device C001
    Name _HID "ACPI0007"
    Name _UID 1
`
	if got := namespace(t, build(t, full(2))["DSDT"][36:]); got != want[1:] {
		t.Errorf("full machine:\n%s\nwant%s", got, want)
	}
	want = `
Name _S5_ {5 0 0 0}
Scope _SB_
  Device PCI0
    Name _HID PNP0A08
    Name _CID PNP0A03
    Name _UID 0
    Name _SEG 0
    Name _BBN 0
    Name _CRS [bus 0-ff +0 len 100 flags c]
  Device MBRD
    Name _HID PNP0C02
    Name _UID 0
    Name _CRS [mem64 10000000000-1000fffffff +0 len 10000000 flags d]
  Device C000
    Name _HID "ACPI0007"
    Name _UID 0
`
	if got := namespace(t, build(t, highECAM())["DSDT"][36:]); got != want[1:] {
		t.Errorf("machine with PCI only:\n%s\nwant%s", got, want)
	}
}

// TestManyProcessors has names with letters in them and a scope whose length takes three bytes.
func TestManyProcessors(t *testing.T) {
	got := namespace(t, build(t, full(maxCPUs))["DSDT"][36:])
	if n := strings.Count(got, `Name _HID "ACPI0007"`); n != maxCPUs {
		t.Errorf("%d processors, want %d", n, maxCPUs)
	}
	if !strings.HasSuffix(got, "  Device C3FF\n    Name _HID \"ACPI0007\"\n    Name _UID 3ff\n") {
		t.Errorf("the last one: %q", got[len(got)-100:])
	}
	mem := memory(t, 2<<20)
	if _, err := Write(mem, full(maxCPUs)); err != nil {
		t.Errorf("Write: %v", err)
	}
}

func memory(t *testing.T, size uint64) *guestmem.Memory {
	t.Helper()
	mem, err := guestmem.New([]guestmem.Range{{Start: 0, Size: size}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem
}

func TestWrite(t *testing.T) {
	mem := memory(t, 2<<20)
	rsdp, err := Write(mem, full(4))
	if err != nil || rsdp != testBase {
		t.Fatalf("Write = %#x, %v, want %#x", rsdp, err, testBase)
	}
	all, err := mem.Slice(0, mem.Size())
	if err != nil {
		t.Fatal(err)
	}
	follow(t, all[testBase:])
	if len(bytes.Trim(all[:testBase], "\x00"))+len(bytes.Trim(all[1<<20:], "\x00")) > 0 {
		t.Error("bytes outside [0xe0000, 0x100000) changed")
	}
	if _, err := Write(memory(t, 0xe1000), full(200)); err == nil || !strings.HasPrefix(err.Error(), "acpi: tables: ") {
		t.Errorf("Write to memory that ends inside = %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	cases := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.CPUs = 0 }, "acpi: 0 processors; 1 to 1024 are possible"},
		{func(c *Config) { c.CPUs = 1025 }, "acpi: 1025 processors; 1 to 1024 are possible"},
		{func(c *Config) { c.ECAM.Size = 4096 }, "acpi: PCI configuration space of 0x1000 bytes; it takes 0x100000 for each bus, and at most 256 buses"},
		{func(c *Config) { c.ECAM.Size = 257 << 20 }, "acpi: PCI configuration space of 0x10100000 bytes; "},
		{func(c *Config) { c.Window32.Size = 1 << 32 }, "acpi: PCI window [0xc0000000, 0x1c0000000) reaches beyond 4 GiB"},
		{func(c *Config) { c.Hotplug.Slots = 3 }, "acpi: hot plug of slots 0x3 by port 0x610 and interrupt 11: it takes a PCI bus, both numbers, and not slot 0"},
		{func(c *Config) { c.Hotplug.Port = 0 }, "acpi: hot plug of slots 0x80000002 by port 0x0 "},
		{func(c *Config) { c.Hotplug.GSI = 0 }, "acpi: hot plug of slots 0x80000002 by port 0x610 and interrupt 0"},
		{func(c *Config) { c.ECAM.Size = 0 }, "acpi: hot plug of slots 0x80000002 "},
	}
	for _, tt := range cases {
		cfg := full(1)
		tt.change(&cfg)
		if _, err := Build(cfg, testBase); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Build = %v, want %q", err, tt.want)
		}
	}
	if _, err := Build(full(1), 8); err == nil {
		t.Error("Build at 8: no error")
	}
}

// TestGolden fixes every byte: a change of the tables is a change of the machine, and shows here.
func TestGolden(t *testing.T) {
	for name, cfg := range map[string]Config{"full": full(2), "high-ecam": highECAM(), "bare": {CPUs: 1}} {
		got, err := Build(cfg, testBase)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".bin")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from %s (%v); run with -update and look at the difference", name, path, err)
		}
	}
}

// TestIASL lets ACPICA's compiler read the tables: it must find nothing to complain of, and make the same bytes again of
// what it read.
func TestIASL(t *testing.T) {
	iasl := need.Tool(t, "iasl", "acpica-tools")
	allSlots := full(300)
	allSlots.Hotplug.Slots = 1<<maxSlots - 2
	noButton := full(1)
	noButton.PowerButtonGSI = 0
	for name, cfg := range map[string]Config{"full": allSlots, "no button": noButton, "high-ecam": highECAM(), "bare": {CPUs: 1}} {
		for sig, table := range build(t, cfg) {
			dir := t.TempDir()
			run := func(args ...string) string {
				t.Helper()
				cmd := exec.Command(iasl, args...)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err != nil || bytes.Contains(out, []byte("Invalid")) {
					t.Fatalf("%s %s: iasl %v: %v\n%s", name, sig, args, err, out)
				}
				return string(out)
			}
			if err := os.WriteFile(filepath.Join(dir, "in.aml"), table, 0o600); err != nil {
				t.Fatal(err)
			}
			run("-d", "in.aml")
			if out := run("-p", "out", "in.dsl"); !strings.Contains(out, " 0 Errors, 0 Warnings, 0 Remarks") {
				t.Errorf("%s %s: %s", name, sig, out)
			}
			again, err := os.ReadFile(filepath.Join(dir, "out.aml"))
			if err != nil {
				t.Fatal(err)
			}
			// The checksum and the compiler's name and revision at 28 are its own.
			if !bytes.Equal(again[:9], table[:9]) || !bytes.Equal(again[10:28], table[10:28]) || !bytes.Equal(again[36:], table[36:]) {
				t.Errorf("%s %s: iasl makes other bytes of it:\n%s", name, sig, fmt.Sprintf("% x\n% x", table, again))
			}
		}
	}
}
