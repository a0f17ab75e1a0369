package vhost

import (
	"testing"
	"unsafe"
)

// The numbers are the kernel's ABI, written down by hand: a generator that goes astray must not be able to agree with itself.
func TestLayoutIsTheKernels(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"vhost_vring_state", unsafe.Sizeof(vringState{}), 8},
		{"vhost_vring_file", unsafe.Sizeof(vringFile{}), 8},
		{"vhost_vring_file.fd", unsafe.Offsetof(vringFile{}.Fd), 4},
		{"vhost_vring_addr", unsafe.Sizeof(vringAddr{}), 40},
		{"vhost_vring_addr.desc_user_addr", unsafe.Offsetof(vringAddr{}.DescUserAddr), 8},
		{"vhost_vring_addr.used_user_addr", unsafe.Offsetof(vringAddr{}.UsedUserAddr), 16},
		{"vhost_vring_addr.avail_user_addr", unsafe.Offsetof(vringAddr{}.AvailUserAddr), 24},
		{"vhost_memory", unsafe.Sizeof(memoryHeader{}), 8},
		{"vhost_memory_region", unsafe.Sizeof(memoryRegion{}), 32},
		{"vhost_memory_region.userspace_addr", unsafe.Offsetof(memoryRegion{}.UserspaceAddr), 16},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}

// A request holds the size of its structure in bits 16 to 29, 0xaf and its number below
// (Documentation/userspace-api/ioctl/ioctl-decoding.rst).
func TestRequestsAreTheKernels(t *testing.T) {
	for r, want := range map[request]struct {
		number request
		size   uintptr
	}{
		getFeatures: {0x00, 8}, setFeatures: {0x00, 8}, setOwner: {0x01, 0}, setMemTable: {0x03, unsafe.Sizeof(memoryHeader{})},
		setVringNum: {0x10, unsafe.Sizeof(vringState{})}, setVringAddr: {0x11, unsafe.Sizeof(vringAddr{})},
		setVringBase: {0x12, unsafe.Sizeof(vringState{})}, getVringBase: {0x12, unsafe.Sizeof(vringState{})},
		setVringKick: {0x20, unsafe.Sizeof(vringFile{})}, setVringCall: {0x21, unsafe.Sizeof(vringFile{})}, setVringErr: {0x22, unsafe.Sizeof(vringFile{})},
		setBackendFeatures: {0x25, 8}, getBackendFeatures: {0x26, 8}, netSetBackend: {0x30, unsafe.Sizeof(vringFile{})},
		vsockSetGuestCID: {0x60, 8}, vsockSetRunning: {0x61, 4},
	} {
		if r&0xff != want.number || r>>8&0xff != 0xaf || uintptr(r>>16&0x3fff) != want.size {
			t.Errorf("%s is %#x, want number %#x and %d bytes", requestName(r), uint32(r), want.number, want.size)
		}
	}
}

func TestMemoryTableIsContiguous(t *testing.T) {
	m := newMemoryTable(2)
	m.regions()[0] = memoryRegion{1, 2, 3, 0}
	m.regions()[1] = memoryRegion{4, 5, 6, 0}
	want := []uint64{2, 1, 2, 3, 0, 4, 5, 6, 0}
	if len(m.words) != len(want) {
		t.Fatalf("%d words, want %d", len(m.words), len(want))
	}
	for i, w := range want {
		if m.words[i] != w {
			t.Errorf("word %d is %d, want %d", i, m.words[i], w)
		}
	}
}
