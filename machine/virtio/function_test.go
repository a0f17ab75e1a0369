package virtio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	tests := []struct {
		id     uint16
		device uint64
		class  uint64
	}{
		{1, 0x1041, 0x020000}, {2, 0x1042, 0x010000}, {3, 0x1043, 0x078000}, {4, 0x1044, 0x00ff00}, {5, 0x1045, 0x00ff00},
		{8, 0x1048, 0x010000}, {19, 0x1053, 0x078000}, {26, 0x105a, 0x018000}, {27, 0x105b, 0x00ff00},
	}
	for _, tt := range tests {
		c := newCard(t, &echo{id: tt.id, sizes: []uint16{8}})
		if v, d, class, rev := c.readConfig(0, 2), c.readConfig(2, 2), c.readConfig(9, 3), c.readConfig(8, 1); v != 0x1af4 || d != tt.device || class != tt.class || rev != 1 {
			t.Errorf("type %d: vendor %#x, device %#x, class %#06x, revision %d, want 0x1af4, %#x, %#06x, 1", tt.id, v, d, class, rev, tt.device, tt.class)
		}
		if v, d := c.readConfig(0x2c, 2), c.readConfig(0x2e, 2); v != 0x1af4 || d < 0x40 {
			t.Errorf("type %d: subsystem %#x:%#x, want 0x1af4 and at least 0x40", tt.id, v, d)
		}
	}
}

// TestCapabilities looks for the structures as Linux does, first of each kind.
func TestCapabilities(t *testing.T) {
	c := newCard(t, &echo{})
	var got []string
	for at := c.readConfig(0x34, 1); at != 0; at = c.readConfig(int(at)+1, 1) {
		r := int(at)
		if id := c.readConfig(r, 1); id != capVendor {
			got = append(got, fmt.Sprintf("id %#x", id))
			continue
		}
		s := fmt.Sprintf("kind %d len %d BAR %d at %#x+%#x", c.readConfig(r+3, 1), c.readConfig(r+2, 1), c.readConfig(r+4, 1), c.readConfig(r+8, 4), c.readConfig(r+12, 4))
		if c.readConfig(r+3, 1) == cfgNotify {
			s += fmt.Sprintf(" times %d", c.readConfig(r+16, 4))
		}
		got = append(got, s)
	}
	want := []string{
		"id 0x11",
		"kind 1 len 16 BAR 0 at 0x0+0x38",
		"kind 3 len 16 BAR 0 at 0x1000+0x1",
		"kind 4 len 16 BAR 0 at 0x2000+0x1000",
		"kind 2 len 20 BAR 0 at 0x3000+0x8 times 4",
		"kind 5 len 20 BAR 0 at 0x0+0x0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("capabilities\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := c.readConfig(0x42, 2) & 0x7ff; got != 2 {
		t.Errorf("MSI-X has %d vectors, want 3", got+1)
	}
}

// TestConfigWindow drives registers through configuration space alone, as firmware does.
func TestConfigWindow(t *testing.T) {
	c := newCard(t, &echo{})
	c.config(4, 2, 0) // the BAR is not mapped
	at := 0x40
	for c.readConfig(at, 1) != capVendor || c.readConfig(at+3, 1) != cfgPCI {
		at = int(c.readConfig(at+1, 1))
	}
	access := func(bar, off, n uint64) {
		c.config(at+4, 1, bar)
		c.config(at+8, 4, off)
		c.config(at+12, 4, n)
	}
	access(0, regStatus, 1)
	c.config(at+16, 1, statusAcknowledge)
	if got := c.readConfig(at+16, 1); got != statusAcknowledge {
		t.Errorf("status %#x through the window, want %#x", got, statusAcknowledge)
	}
	access(0, regNumQueues, 2)
	if got := c.readConfig(at+16, 2); got != 2 {
		t.Errorf("%d queues through the window, want 2", got)
	}
	access(0, barTable, 4)
	if got := c.readConfig(at+16, 4); got != 0xfee00000 {
		t.Errorf("MSI-X address %#x through the window, want 0xfee00000", got)
	}
	c.config(at+16, 4, 0x11223344)
	for _, bad := range [][3]uint64{{0, regStatus, 3}, {0, regStatus, 0}, {0, regConfigVector + 1, 2}, {0, regStatus, 0xffffffff}} {
		access(bad[0], bad[1], bad[2])
		c.config(at+16, 4, 0)
		if got := c.readConfig(at+16, 4); got != 0 {
			t.Errorf("window %v reads %#x, want what was written", bad, got)
		}
	}
	for _, outside := range [][3]uint64{{1, 0, 4}, {255, 0, 4}, {0, barSize, 4}, {0, 0xfffffffc, 4}} {
		access(outside[0], outside[1], outside[2])
		c.config(at+16, 4, 0)
		if got := c.readConfig(at+16, 4); got != 0xffff_ffff {
			t.Errorf("window %v reads %#x, want ones", outside, got)
		}
	}
	if c.dev.starts != 0 || c.tr.status.Load() != statusAcknowledge {
		t.Errorf("status %#x at the end, want %#x", c.tr.status.Load(), statusAcknowledge)
	}
}
