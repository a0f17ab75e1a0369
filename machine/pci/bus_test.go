package pci

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"usui/machine/guestmem"
)

// testCard is a function with everything: a narrow and a wide BAR, MSI-X, and a vendor capability.
func testCard(vectors *fakeVectors) FunctionConfig {
	return FunctionConfig{
		Name: "card", Vendor: 0x1af4, Device: 0x1042, SubsystemVendor: 0x1af4, Subsystem: 0x40, Class: 0x010203, Revision: 7,
		BARs: [6]BAR{
			0: {Size: 4096, Region: make(ram, 4096)},
			2: {Size: 32 << 10, Wide: true, Region: make(ram, 32<<10)},
		},
		Capabilities: []Capability{{ID: 9, Body: []byte{5, 1, 2}, Writable: []byte{0, 0x0f, 0}}},
		MSIX:         MSIX{Vectors: 3, BAR: 2, Table: 0x4000, Pending: 0x5000},
		Vectors:      vectors,
	}
}

func TestHeader(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	c := b.Config()
	tests := []struct {
		name string
		off  uint64
		want uint32
	}{
		{"host bridge", reg(0, 0), 0x0008_1b36},
		{"host bridge class", reg(0, 8), 0x06_00_00_00},
		{"host bridge capabilities", reg(0, regCapabilities), 0},
		{"identity", reg(1, 0), 0x1042_1af4},
		{"command and status", reg(1, 4), statusCapabilities << 16},
		{"class and revision", reg(1, 8), 0x01_02_03_07},
		{"header type", reg(1, 0x0c), 0},
		{"subsystem", reg(1, 0x2c), 0x0040_1af4},
		{"expansion ROM", reg(1, 0x30), 0},
		{"interrupt pin and line", reg(1, 0x3c), 0},
		{"narrow BAR", reg(1, 0x10), uint32(low.Start)},
		{"wide BAR, low half", reg(1, 0x18), uint32(high.Start&math.MaxUint32) | bar64},
		{"wide BAR, high half", reg(1, 0x1c), uint32(high.Start >> 32)},
		{"BAR that is not there", reg(1, 0x20), 0},
		{"empty slot", reg(2, 0), math.MaxUint32},
		{"last slot", reg(31, 0), math.MaxUint32},
		{"function 1", reg(1, 0) | 1<<functionShift, math.MaxUint32},
		{"extended space", reg(1, 0x100), math.MaxUint32},
		{"across the end of the registers", reg(1, 0xfe), math.MaxUint32},
		{"across the end of the function", reg(1, 0xffe), math.MaxUint32},
		{"behind bus 0", ECAMSize, math.MaxUint32},
		{"far behind", math.MaxUint64, math.MaxUint32},
	}
	for _, tt := range tests {
		if got := read32(c, tt.off); got != tt.want {
			t.Errorf("%s: read 4 bytes at %#x = %#x, want %#x", tt.name, tt.off, got, tt.want)
		}
	}
}

// TestReadOfAnySize compares reads of every size and offset with the bytes of one large one.
func TestReadOfAnySize(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	c := b.Config()
	all := make([]byte, configSize)
	c.Read(reg(1, 0), all)
	for n := range 9 {
		p := make([]byte, n)
		for r := range configSize + 8 {
			c.Read(reg(1, r), p)
			want := bytes.Repeat([]byte{0xff}, n)
			if r+n <= configSize {
				want = all[r : r+n]
			}
			if !bytes.Equal(p, want) {
				t.Fatalf("read %d bytes at %#x = % x, want % x", n, r, p, want)
			}
		}
	}
}

// TestWritableBits writes ones and zeros everywhere and looks at what stuck.
func TestWritableBits(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	f := mustAdd(t, b, testCard(&fakeVectors{}))
	c := b.Config()
	before := make([]byte, configSize)
	c.Read(reg(1, 0), before)

	c.Write(reg(1, 0), bytes.Repeat([]byte{0xff}, configSize))
	ones := make([]byte, configSize)
	c.Read(reg(1, 0), ones)
	c.Write(reg(1, 0), make([]byte, configSize))
	zeros := make([]byte, configSize)
	c.Read(reg(1, 0), zeros)

	var got []string
	for i := range configSize {
		if changed := ones[i] ^ zeros[i]; changed != 0 {
			got = append(got, fmt.Sprintf("%02x:%02x", i, changed))
		}
		if fixed := ^f.writable[i]; zeros[i]&fixed != before[i]&fixed || ones[i]&fixed != before[i]&fixed {
			t.Errorf("register %#x: read-only bits changed: %#x, with ones %#x, with zeros %#x", i, before[i], ones[i], zeros[i])
		}
	}
	want := "04:06 05:04 0c:ff 0d:ff " + // command, cache line, latency
		"11:f0 12:ff 13:ff " + // BAR 0: 4 KiB
		"19:80 1a:ff 1b:ff 1c:ff 1d:ff 1e:ff 1f:ff " + // BAR 2: 32 KiB, wide
		"3c:ff " + // interrupt line
		"43:c0 " + // MSI-X: enable, mask all
		"4f:0f" // the vendor capability
	if s := strings.Join(got, " "); s != want {
		t.Errorf("writable bits\n%s, want\n%s", s, want)
	}
}

// TestBARSizing asks for the sizes as operating systems do.
func TestBARSizing(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	c := b.Config()
	write32(c, reg(1, 0x10), math.MaxUint32)
	if got := -(read32(c, reg(1, 0x10)) &^ barTypeBits); got != 4096 {
		t.Errorf("BAR 0 has size %#x, want %#x", got, 4096)
	}
	setBAR64(c, 1, 2, math.MaxUint64)
	if got := -bar64Of(c, 1, 2); got != 32<<10 {
		t.Errorf("BAR 2 has size %#x, want %#x", got, 32<<10)
	}
	if got := read32(c, reg(1, 0x18)) & barTypeBits; got != bar64 {
		t.Errorf("BAR 2 has type %#x after sizing, want %#x", got, bar64)
	}
}

// capabilityIDs walks the list as an operating system does.
func capabilityIDs(t *testing.T, c ConfigSpace, slot int) (ids []byte) {
	t.Helper()
	at := byte(read32(c, reg(slot, regCapabilities)))
	for at != 0 && len(ids) < 10 {
		if at%4 != 0 {
			t.Errorf("capability at %#x, want a multiple of 4", at)
		}
		head := read32(c, reg(slot, int(at)))
		ids = append(ids, byte(head))
		at = byte(head >> 8)
	}
	return ids
}

func TestCapabilityList(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	odd := FunctionConfig{Name: "odd"}
	for i := range 5 {
		odd.Capabilities = append(odd.Capabilities, Capability{ID: byte(i), Body: make([]byte, i)})
	}
	mustAdd(t, b, odd)
	c := b.Config()
	for slot, want := range [][]byte{nil, {capMSIX, 9}, {0, 1, 2, 3, 4}} {
		if ids := capabilityIDs(t, c, slot); !bytes.Equal(ids, want) {
			t.Errorf("slot %d: capabilities %#x, want %#x", slot, ids, want)
		}
	}
	if control, table, pending := read16(c, reg(1, 0x42)), read32(c, reg(1, 0x44)), read32(c, reg(1, 0x48)); control != 2 || table != 0x4002 || pending != 0x5002 {
		t.Errorf("MSI-X control %#x, table %#x, pending %#x, want 2, 0x4002, 0x5002", control, table, pending)
	}
}

// TestCapabilityHooks sees to it that a hook runs exactly when its bytes are touched, with the right ones.
func TestCapabilityHooks(t *testing.T) {
	var got []string
	note := func(what string) func([]byte, int, int) {
		return func(body []byte, off, n int) {
			got = append(got, fmt.Sprintf("%s %d+%d of %d", what, off, n, len(body)))
			body[0]++
		}
	}
	b := NewBus(BusConfig{})
	mustAdd(t, b, FunctionConfig{Name: "hooked", Capabilities: []Capability{
		{ID: 9, Body: make([]byte, 6), BeforeRead: note("read"), AfterWrite: note("write")},
		{ID: 9, Body: make([]byte, 2)},
	}})
	c := b.Config() // the body is at 0x42
	for _, access := range []struct {
		at, n int
		write bool
	}{{0x40, 2, false}, {0x48, 4, false}, {0x41, 2, false}, {0x44, 4, true}, {0x47, 8, true}, {0x3c, 4, true}, {0x40, 16, false}} {
		p := make([]byte, access.n)
		if access.write {
			c.Write(reg(1, access.at), p)
		} else {
			c.Read(reg(1, access.at), p)
		}
	}
	want := []string{"read 0+1 of 6", "write 2+4 of 6", "write 5+1 of 6", "read 0+6 of 6"}
	if !slices.Equal(got, want) {
		t.Errorf("hooks ran %q, want %q", got, want)
	}
	if v := read16(c, reg(1, 0x42)); v != 5 {
		t.Errorf("the first byte counts %d hooks, want 5", v)
	}
}

func TestNewFunctionRefuses(t *testing.T) {
	region := make(ram, 1<<16)
	tests := []struct {
		name   string
		change func(*FunctionConfig)
	}{
		{"small BAR", func(c *FunctionConfig) { c.BARs[0].Size = 2048 }},
		{"odd BAR", func(c *FunctionConfig) { c.BARs[0].Size = 3 * 4096 }},
		{"BAR with nothing behind it", func(c *FunctionConfig) { c.BARs[0].Region = nil }},
		{"BAR of 0 bytes", func(c *FunctionConfig) { c.BARs[0].Size = 0 }},
		{"huge narrow BAR", func(c *FunctionConfig) { c.BARs[0].Size = 1 << 32 }},
		{"wide last BAR", func(c *FunctionConfig) { c.BARs[5] = BAR{4096, true, region} }},
		{"wide BAR over another", func(c *FunctionConfig) { c.BARs[3] = BAR{4096, false, region} }},
		{"negative vectors", func(c *FunctionConfig) { c.MSIX.Vectors = -1 }},
		{"too many vectors", func(c *FunctionConfig) { c.MSIX.Vectors = 2049 }},
		{"table outside", func(c *FunctionConfig) { c.MSIX.Table = 0x8000 }},
		{"table across the end", func(c *FunctionConfig) { c.MSIX.Table = 0x7ff0 }},
		{"pending bits outside", func(c *FunctionConfig) { c.MSIX.Pending = 0xfffffff8 }},
		{"unaligned table", func(c *FunctionConfig) { c.MSIX.Table = 0x4004 }},
		{"table over pending bits", func(c *FunctionConfig) { c.MSIX.Pending = 0x4028 }},
		{"MSI-X in no BAR", func(c *FunctionConfig) { c.MSIX.BAR = 6 }},
		{"MSI-X in a BAR that is not there", func(c *FunctionConfig) { c.MSIX.BAR = 4 }},
		{"nobody makes vectors", func(c *FunctionConfig) { c.Vectors = nil }},
		{"too few vectors", func(c *FunctionConfig) { c.Vectors = &fakeVectors{limit: 2} }},
		{"mask of another size", func(c *FunctionConfig) { c.Capabilities[0].Writable = []byte{1} }},
		{"too much in capabilities", func(c *FunctionConfig) { c.Capabilities[0] = Capability{ID: 9, Body: make([]byte, 180)} }},
	}
	for _, tt := range tests {
		cfg := testCard(&fakeVectors{})
		tt.change(&cfg)
		if _, err := NewFunction(cfg); err == nil || !strings.Contains(err.Error(), "card") {
			t.Errorf("%s: NewFunction gives error %v, want one that names the function", tt.name, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	t.Run("the second time", func(t *testing.T) {
		b := NewBus(BusConfig{Window32: low, Window64: high})
		f := mustAdd(t, b, testCard(&fakeVectors{}))
		if err := b.Add(f); err == nil {
			t.Error("Add of a function that is on the bus succeeds")
		}
	})
	t.Run("function 32", func(t *testing.T) {
		b := NewBus(BusConfig{})
		for range numSlots - 1 {
			mustAdd(t, b, FunctionConfig{Name: "small"})
		}
		if err := b.Add(mustFunction(t, FunctionConfig{Name: "small"})); err == nil {
			t.Errorf("Add to a bus with %d functions succeeds", numSlots)
		}
		if n := len(b.Functions()); n != numSlots {
			t.Errorf("the bus lists %d functions, want %d", n, numSlots)
		}
	})
	windows := []struct {
		name      string
		low, high guestmem.Range
	}{
		{"without windows", guestmem.Range{}, guestmem.Range{}},
		{"with too small windows", guestmem.Range{Start: 4096, Size: 2048}, guestmem.Range{Start: gib, Size: 16 << 10}},
		{"when alignment needs the room", guestmem.Range{Start: gib + 1, Size: 4096}, high},
		{"when addresses wrap", guestmem.Range{Start: math.MaxUint64 - 4094, Size: 4095}, high},
		{"when narrow BARs would lie high", high, high},
	}
	for _, tt := range windows {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBus(BusConfig{Window32: tt.low, Window64: tt.high})
			if err := b.Add(mustFunction(t, testCard(&fakeVectors{}))); err == nil {
				t.Error("Add succeeds, want no room")
			}
			if n := len(b.Functions()); n != 1 {
				t.Errorf("the bus lists %d functions, want the bridge alone", n)
			}
		})
	}
}

// TestAddGivesBackRoom fills a window to the last byte after a function that did not fit.
func TestAddGivesBackRoom(t *testing.T) {
	b := NewBus(BusConfig{Window32: guestmem.Range{Start: gib, Size: 8192}})
	region := make(ram, 8192)
	big := FunctionConfig{Name: "big", BARs: [6]BAR{{Size: 4096, Region: region}, {Size: 8192, Region: region}}}
	if err := b.Add(mustFunction(t, big)); err == nil {
		t.Fatal("12 KiB of BARs fit in a window of 8 KiB")
	}
	mustAdd(t, b, FunctionConfig{Name: "fits", BARs: [6]BAR{{Size: 8192, Region: region}}})
}

// TestAddDoesNotWrap fills half of all addresses, a page, and then wants the other half.
func TestAddDoesNotWrap(t *testing.T) {
	b := NewBus(BusConfig{Window64: guestmem.Range{Start: 0, Size: math.MaxUint64}})
	half := FunctionConfig{Name: "half", BARs: [6]BAR{{Size: 1 << 63, Wide: true, Region: ram{}}}}
	mustAdd(t, b, half)
	mustAdd(t, b, FunctionConfig{Name: "page", BARs: [6]BAR{{Size: 4096, Wide: true, Region: ram{}}}})
	if err := b.Add(mustFunction(t, half)); err == nil {
		t.Error("two halves and a page fit in 64 bits of addresses")
	}
}

func TestWideBARFallsBackBelow4GiB(t *testing.T) {
	b := NewBus(BusConfig{Window32: low})
	mustAdd(t, b, testCard(&fakeVectors{}))
	if at := bar64Of(b.Config(), 1, 2); !low.Contains(at, 32<<10) || at%(32<<10) != 0 {
		t.Errorf("the wide BAR is at %#x, want it aligned in %v", at, low)
	}
}

func TestFunctionsListsWhatTheGuestSees(t *testing.T) {
	b := NewBus(BusConfig{Window32: low, Window64: high})
	mustAdd(t, b, testCard(&fakeVectors{}))
	want := []Info{
		{0, "host bridge", 0x1b36, 0x0008, 0x060000},
		{1, "card", 0x1af4, 0x1042, 0x010203},
	}
	if got := b.Functions(); !slices.Equal(got, want) {
		t.Errorf("Functions() = %+v, want %+v", got, want)
	}
}

func TestCloseRunsTheHookOnce(t *testing.T) {
	calls, failed := 0, errors.New("stuck")
	f, err := NewFunction(FunctionConfig{Name: "x", Close: func() error { calls++; return failed }})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); !errors.Is(err, failed) {
		t.Errorf("Close = %v, want %v", err, failed)
	}
	if err := f.Close(); err != nil || calls != 1 {
		t.Errorf("the second Close = %v after %d calls of the hook, want nil after 1", err, calls)
	}
}

func TestWarningsAreBounded(t *testing.T) {
	var log logBook
	f := mustFunction(t, FunctionConfig{Name: "noisy", Log: log.logger()})
	for range 10 * maxWarnings {
		f.Warn("again")
	}
	if n := log.lines(); n != maxWarnings {
		t.Errorf("%d lines in the log, want %d", n, maxWarnings)
	}
}
