package vhost

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// None stands for a descriptor that there is none of.
const None = -1

// Region is a range of guest memory.
type Region struct {
	Start, Size uint64  // guest-physical
	HostAddr    uintptr // of the first byte, in this process
}

// Ring is a virtqueue as its driver laid it out. The descriptors stay the caller's.
type Ring struct {
	Size              uint16
	Desc, Avail, Used uint64 // guest-physical addresses
	Kick              int    // eventfd that the driver signals
	Interrupt         int    // eventfd that interrupts the driver, or None
	Next              uint16 // the entry to begin with: 0, or what Stop said
}

// Config is what a device is started with. The caller keeps memory mapped and rings in place until Stop has returned.
type Config struct {
	Features uint64 // that the driver accepted; those that the kernel does not know are left out
	Memory   []Region
	Rings    []Ring
	Fault    int // eventfd that is signalled when a driver breaks the protocol, or None
}

// Device is a device of the kernel's. Its methods are called one at a time.
type Device struct {
	file     *os.File
	features uint64
	rings    int // that are set up
}

// open opens the node at path and makes this process the device's owner, in whose memory it works.
func open(path string) (_ *Device, err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	d := &Device{file: os.NewFile(uintptr(fd), path)}
	if err := d.own(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := ioctl(d, getFeatures, &d.features); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// own makes this process the device's owner. The kernel makes a thread for that, which it refuses as ENOMEM while a signal waits for the
// calling thread (copy_process in kernel/fork.c), such as the one that Go preempts goroutines with: so none may come.
func (d *Device) own() (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return os.NewSyscallError("rt_sigprocmask", err)
	}
	defer func() {
		err = errors.Join(err, os.NewSyscallError("rt_sigprocmask", unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)))
	}()
	return d.number(setOwner, 0)
}

// Features are the feature bits that the kernel knows, of rings and of the device type.
func (d *Device) Features() uint64 { return d.features }

// BackendFeatures are what this interface itself can do, VHOST_BACKEND_F_*.
func (d *Device) BackendFeatures() (bits uint64, err error) {
	err = ioctl(d, getBackendFeatures, &bits)
	return bits, err
}

// SetBackendFeatures switches these on.
func (d *Device) SetBackendFeatures(bits uint64) error { return ioctl(d, setBackendFeatures, &bits) }

// Close ends the device: the kernel touches no memory any more when it returns.
func (d *Device) Close() error { return d.file.Close() }

// setUp brings all to the kernel but what makes it begin.
func (d *Device) setUp(c Config) error {
	features := c.Features & d.features
	if err := ioctl(d, setFeatures, &features); err != nil {
		return err
	}
	if err := d.setMemory(c.Memory); err != nil {
		return err
	}
	d.rings = len(c.Rings)
	for i, r := range c.Rings {
		if err := d.setRing(uint32(i), r, c); err != nil {
			return fmt.Errorf("ring %d: %w", i, err)
		}
	}
	return nil
}

func (d *Device) setMemory(regions []Region) error {
	table := newMemoryTable(len(regions))
	for i, r := range regions {
		table.regions()[i] = memoryRegion{GuestPhysAddr: r.Start, MemorySize: r.Size, UserspaceAddr: uint64(r.HostAddr)}
	}
	return ioctl(d, setMemTable, table.header())
}

func (d *Device) setRing(i uint32, r Ring, c Config) error {
	addr, err := address(i, r, c.Memory)
	if err != nil {
		return err
	}
	if err := ioctl(d, setVringNum, &vringState{Index: i, Num: uint32(r.Size)}); err != nil {
		return err
	}
	if err := ioctl(d, setVringBase, &vringState{Index: i, Num: uint32(r.Next)}); err != nil {
		return err
	}
	if err := ioctl(d, setVringAddr, &addr); err != nil {
		return err
	}
	for _, f := range []struct {
		request request
		fd      int
	}{{setVringCall, r.Interrupt}, {setVringErr, c.Fault}, {setVringKick, r.Kick}} { // a kick that was there before is served
		if err := ioctl(d, f.request, &vringFile{Index: i, Fd: int32(f.fd)}); err != nil {
			return err
		}
	}
	return nil
}

// Sizes of a split ring's parts (virtio 1.2 section 2.7): for each entry, and beside them.
const (
	descEntry      = 16
	availEntry     = 2
	usedEntry      = 8
	ringOverhead   = 6
	maxRingEntries = 1 << 15
)

// address translates a ring's addresses into those of this process.
func address(i uint32, r Ring, memory []Region) (a vringAddr, err error) {
	n := uint64(r.Size)
	if n == 0 || n&(n-1) != 0 || n > maxRingEntries {
		return a, fmt.Errorf("size %d is no power of two up to %d", n, maxRingEntries)
	}
	a.Index = i
	for _, part := range []struct {
		name      string
		gpa, size uint64
		addr      *uint64
	}{
		{"descriptor table", r.Desc, n * descEntry, &a.DescUserAddr},
		{"available ring", r.Avail, n*availEntry + ringOverhead, &a.AvailUserAddr},
		{"used ring", r.Used, n*usedEntry + ringOverhead, &a.UsedUserAddr},
	} {
		if *part.addr, err = translate(part.gpa, part.size, memory); err != nil {
			return a, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return a, nil
}

// translate finds n bytes of guest memory in this process. All of them must lie in one region.
func translate(gpa, n uint64, memory []Region) (uint64, error) {
	for _, r := range memory {
		if off := gpa - r.Start; gpa >= r.Start && off <= r.Size && n <= r.Size-off {
			return uint64(r.HostAddr) + off, nil
		}
	}
	return 0, fmt.Errorf("%d bytes at %#x are outside guest memory", n, gpa)
}

// bases reads where the kernel stopped in each ring.
func (d *Device) bases() ([]uint16, error) {
	next := make([]uint16, d.rings)
	for i := range next {
		s := vringState{Index: uint32(i)}
		if err := ioctl(d, getVringBase, &s); err != nil {
			return nil, fmt.Errorf("ring %d: %w", i, err)
		}
		next[i] = uint16(s.Num)
	}
	return next, nil
}

// request is an ioctl of a vhost device.
type request uint32

// Error is a request that the kernel refused. It wraps the errno.
type Error struct {
	Request string // the kernel's name
	Errno   unix.Errno
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Request, e.Errno) }

// Unwrap implements errors' convention.
func (e *Error) Unwrap() error { return e.Errno }
