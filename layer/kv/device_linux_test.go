package kv

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/xdp/xdptest"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// deviceMemory is what a process finds again, as it does on a DAX device.
func deviceMemory(t *testing.T, bytes int) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("device", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) // the mapping stays
	if err := unix.Ftruncate(fd, int64(bytes)); err != nil {
		t.Fatal(err)
	}
	p, err := unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

// serveDevice serves a folder with values on a device, until stop is called.
func serveDevice(t *testing.T, dir string, memory []byte) (far *xdptest.End, stop func()) {
	t.Helper()
	near, far := xdptest.Cable(t)
	folder, err := disk.Open(dir, engine.IsOurs, disk.Ordinary)
	if err != nil {
		t.Fatal(err)
	}
	var s *Store
	near.Do(func() {
		s, err = New(Config{Listen: "127.0.0.1:0", Folder: folder, SegmentBytes: 1 << 20, Loops: 2,
			Bypass: Bypass{Interface: near.Name, Address: netip.MustParseAddr(ownAddress), Port: 6379, Device: disk.DeviceOn(memory)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }() // ends with ctx
	return far, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestValuesStayWhereTheyCame has long values stay in the frames in which they came, over a restart, and their frames come back when they are deleted.
func TestValuesStayWhereTheyCame(t *testing.T) {
	const values = 200
	dir, memory := t.TempDir(), deviceMemory(t, 17<<20)
	value := func(i int) string { return strings.Repeat(fmt.Sprintf("%04d.", i), 210+i*20) }
	far, stop := serveDevice(t, dir, memory)
	p := dialFar(t, far)
	all := 0
	for i := range values {
		p.must(t, "set", fmt.Sprint("key:", i), value(i))
		all += len(value(i))
	}
	p.must(t, "set", "short", "value")
	check := func(p *peer) {
		t.Helper()
		for i := range values {
			if got := p.must(t, "get", fmt.Sprint("key:", i)); got != fmt.Sprintf("$%d\r\n%s\r\n", len(value(i)), value(i)) {
				t.Fatalf("key:%d has %d bytes, or others than the %d that it got", i, len(got), len(value(i)))
			}
		}
	}
	check(p)
	got := infoOf(t, p)
	if intOf(got["bypass_bytes_placed"]) < all*9/10 || intOf(got["bypass_frames_with_values"]) < all/1500 {
		t.Errorf("%d bytes of values: %v, want nearly all on the device", all, got)
	}
	stop()
	far, stop = serveDevice(t, dir, memory)
	p = dialFar(t, far)
	check(p)
	before := intOf(infoOf(t, p)["bypass_frames_with_values"])
	if before < all/1500 {
		t.Errorf("%d frames with values after a restart", before)
	}
	p.must(t, "rpush", "list", "1", "2")
	p.must(t, "set", "weight:1", strings.Repeat("b", 4000))
	p.must(t, "set", "weight:2", strings.Repeat("a", 4000))
	if r := p.must(t, "sort", "list", "by", "weight:*", "alpha"); r != "*2\r\n$1\r\n2\r\n$1\r\n1\r\n" { // reads both at once
		t.Errorf("SORT = %q, want 2 before 1", r)
	}
	p.must(t, "del", "weight:1", "weight:2")
	for i := range values {
		key := fmt.Sprint("key:", i)
		switch i % 5 { // all of them are gone then, or in the log
		case 0:
			p.must(t, "set", key, "short")
		case 1:
			p.must(t, "append", key, "more")
		case 2:
			p.must(t, "rename", key, "other")
		case 3:
			p.must(t, "expire", key, "1000")
		default:
			p.must(t, "del", key)
		}
	}
	if got := infoOf(t, p); got["bypass_frames_with_values"] != "0" {
		t.Errorf("without a value on the device: %v", got)
	}
	for i := range 5000 { // far more than there are frames
		key := fmt.Sprint("key:", i%7)
		if p.must(t, "set", key, value(i%3)); i%3 == 0 {
			p.must(t, "del", key)
		}
	}
	p.must(t, "flushall")
	if got := infoOf(t, p); got["bypass_frames_with_values"] != "0" || got["bypass_frames_dropped"] != "0" {
		t.Errorf("after 5000 values and FLUSHALL: %v", got)
	}
	stop()
}

// TestAFullDeviceCopies has more values than a device has room for.
func TestAFullDeviceCopies(t *testing.T) {
	dir, memory := t.TempDir(), deviceMemory(t, 17<<20)
	far, stop := serveDevice(t, dir, memory)
	p := dialFar(t, far)
	value := strings.Repeat("v", 1200)
	for i := range 9000 {
		p.must(t, "set", fmt.Sprint("key:", i), value)
	}
	got := infoOf(t, p)
	if with, most := intOf(got["bypass_frames_with_values"]), intOf(got["bypass_frames_for_values"]); with != most || most < 3000 {
		t.Errorf("%d frames with values, want all %d that there may be", with, most)
	}
	stop()
	far, stop = serveDevice(t, dir, memory)
	p = dialFar(t, far)
	for i := 0; i < 9000; i += 89 {
		if got := p.must(t, "get", fmt.Sprint("key:", i)); got != fmt.Sprintf("$%d\r\n%s\r\n", len(value), value) {
			t.Fatalf("key:%d = %.40q", i, got)
		}
	}
	stop()
}

// TestADeviceBelongsToAStore refuses a store without its device, a device of another store, and an empty one.
func TestADeviceBelongsToAStore(t *testing.T) {
	dir, memory := t.TempDir(), deviceMemory(t, 17<<20)
	far, stop := serveDevice(t, dir, memory)
	dialFar(t, far).must(t, "set", "key", strings.Repeat("v", 2000))
	stop()
	near, _ := xdptest.Cable(t)
	foreign := deviceMemory(t, 17<<20)
	copy(foreign[100:], "somebody else's")
	for want, c := range map[string]struct {
		dir    string
		memory []byte
	}{
		engine.ErrNoDevice.Error():       {dir, nil},
		"belongs to another store":       {t.TempDir(), memory},
		"is not on the device":           {dir, deviceMemory(t, 17<<20)},
		"is for a bypass":                {t.TempDir(), deviceMemory(t, 17<<20)},
		"for 1 queues it takes 16777216": {t.TempDir(), deviceMemory(t, 8<<20)},
		"its first block holds":          {t.TempDir(), foreign},
	} {
		folder, err := disk.Open(c.dir, engine.IsOurs, disk.Ordinary)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Listen: "127.0.0.1:0", Folder: folder, SegmentBytes: 1 << 20}
		if c.memory != nil {
			cfg.Bypass.Device = disk.DeviceOn(c.memory)
		}
		if want != "is for a bypass" && c.memory != nil {
			cfg.Bypass.Interface, cfg.Bypass.Address, cfg.Bypass.Port = near.Name, netip.MustParseAddr(ownAddress), 6379
		}
		near.Do(func() {
			if s, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New = %v, %v; want an error with %q", s, err, want)
			}
		})
	}
}

func intOf(text string) (n int) {
	fmt.Sscan(text, &n)
	return n
}
