package xdp

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageAligned says whether memory begins at a page.
func pageAligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%uintptr(os.Getpagesize()) == 0
}

// registerMemory makes memory the socket's.
//
// SAFETY: the kernel pins the pages; the caller keeps memory, which is a mapping and not Go's heap, until the socket is closed.
func registerMemory(fd int, memory []byte, frame int) error {
	r := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))), Len: uint64(len(memory)), Size: uint32(frame)}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG, uintptr(unsafe.Pointer(&r)), unsafe.Sizeof(r), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ringOffsets asks where in the mappings the rings' fields are.
func ringOffsets(fd int) (o unix.XDPMmapOffsets, err error) {
	if err := option(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&o), unsafe.Sizeof(o)); err != nil {
		return o, os.NewSyscallError("getsockopt XDP_MMAP_OFFSETS", err)
	}
	return o, nil
}

// statistics asks for the kernel's counters of a socket.
func statistics(fd int) (s unix.XDPStatistics, err error) {
	if err := option(fd, unix.XDP_STATISTICS, unsafe.Pointer(&s), unsafe.Sizeof(s)); err != nil {
		return s, os.NewSyscallError("getsockopt XDP_STATISTICS", err)
	}
	return s, nil
}

// option reads one of the socket's, which has to be as long as the caller thinks.
//
// SAFETY: p points to size bytes of the caller's, which the kernel writes before the call returns.
func option(fd, name int, p unsafe.Pointer, size uintptr) error {
	got := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(name), uintptr(p), uintptr(unsafe.Pointer(&got)), 0)
	switch {
	case errno != 0:
		return errno
	case uintptr(got) != size:
		return fmt.Errorf("%d bytes, want %d", got, size)
	}
	return nil
}

// mapRing maps a ring.
func mapRing[E uint64 | unix.XDPDesc](r *ring[E], fd int, page int64, off unix.XDPRingOffset, entries int) error {
	var e E
	size := int(off.Desc) + entries*int(unsafe.Sizeof(e))
	memory, err := unix.Mmap(fd, page, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	// SAFETY: the offsets are the kernel's, aligned for their types and below Desc or, for Desc, followed by the entries.
	u32 := func(at uint64) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&memory[at])) }
	*r = ring[E]{memory: memory, producer: u32(off.Producer), consumer: u32(off.Consumer), flags: u32(off.Flags),
		entries: unsafe.Slice((*E)(unsafe.Pointer(&memory[off.Desc])), entries)}
	return nil
}

// wakeSend has the kernel look at the transmit ring.
func wakeSend(fd int) error {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// wakeReceive has the kernel look at the fill ring. It has nothing to tell: without frames the card drops, and counts that.
func wakeReceive(fd int) {
	_, _, _ = unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
}

// channels is struct ethtool_channels of include/uapi/linux/ethtool.h.
type channels struct {
	command                                uint32
	maxRx, maxTx, maxOther, maxCombined    uint32
	rxCount, txCount, otherCount, combined uint32
}

// ifreqPointer is struct ifreq with a pointer.
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// receiveQueues asks how many queues an interface receives by; 1 if its driver does not tell.
func receiveQueues(socket int, name string) int {
	c := channels{command: unix.ETHTOOL_GCHANNELS}
	r := ifreqPointer{data: unsafe.Pointer(&c)}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	// SAFETY: r and c live until the call returns, which writes into c.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return 1
	}
	return max(1, int(c.rxCount+c.combined))
}
