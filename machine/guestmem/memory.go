package guestmem

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// ErrOutside is the cause of every refused access: some byte of it lies in no region, or in another than the first.
var ErrOutside = errors.New("outside guest memory")

// Region is a range of RAM and where its bytes are.
type Region struct {
	Range
	FileOffset int64   // of the first byte, in [Memory.File]
	HostAddr   uintptr // of the first byte, in this process
}

// Memory is the RAM of one guest. All methods but Close may be called from any goroutine.
type Memory struct {
	file    *os.File
	size    uint64
	page    uint64    // what the host gives and takes at once
	regions []mapping // in the order of their addresses
}

type mapping struct {
	Region
	bytes []byte
}

// New makes memory with RAM in the given ranges, all zero. The ranges must be ascending and must not overlap, begin and
// end on 4 KiB boundaries and lie below 1<<63. Pages take room in the host only when they are touched.
func New(ranges []Range) (*Memory, error) {
	return build(ranges, max(pageSize, uint64(os.Getpagesize())), 0, unix.MAP_NORESERVE)
}

// build makes the file with flags for memfd_create, and maps it with flags for mmap.
func build(ranges []Range, page uint64, fileFlags, mapFlags int) (_ *Memory, err error) {
	m := &Memory{page: page}
	if m.size, err = total(ranges); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.file, err = memoryFile(int64(m.size), fileFlags); err != nil {
		return nil, err
	}
	var off int64
	for _, r := range ranges {
		b, err := mapFile(int(m.file.Fd()), off, r.Size, mapFlags)
		if err != nil {
			return nil, fmt.Errorf("map %d bytes of guest memory: %w", r.Size, err)
		}
		m.regions = append(m.regions, mapping{Region{r, off, hostAddr(b)}, b})
		off += int64(r.Size)
	}
	return m, nil
}

// total checks the ranges and sums them up.
func total(ranges []Range) (uint64, error) {
	if len(ranges) == 0 {
		return 0, errors.New("guest memory: size is 0")
	}
	var sum, end uint64
	for _, r := range ranges {
		if err := r.check(); err != nil {
			return 0, err
		}
		if r.Start < end {
			return 0, fmt.Errorf("guest memory at %#x, %d bytes: overlaps or precedes the range before it, which ends at %#x", r.Start, r.Size, end)
		}
		end = r.End()
		sum += r.Size // ranges do not overlap and end below 1<<63: no overflow
	}
	if sum > math.MaxInt64 {
		return 0, fmt.Errorf("guest memory: %d bytes do not fit in a file", sum)
	}
	return sum, nil
}

// memoryFile makes the file of size bytes and fixes its size for good.
func memoryFile(size int64, flags int) (*os.File, error) {
	const name = "usui-guest"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Ftruncate(fd, size); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a memory file of %d bytes: %w", size, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the size of the memory file: %w", err)
	}
	return f, nil
}

// Close unmaps the memory and closes its file. No slice of it may be used any more, not even by another goroutine that
// is about to finish. Afterwards every access is refused.
func (m *Memory) Close() error {
	var errs []error
	for _, r := range m.regions {
		errs = append(errs, unmapFile(r.bytes))
	}
	m.regions = nil
	if m.file != nil {
		errs = append(errs, m.file.Close())
		m.file = nil
	}
	return errors.Join(errs...)
}

// File is the memory file. It stays owned by m; pass its descriptor on, but do not close it. It is nil after Close.
func (m *Memory) File() *os.File { return m.file }

// Size is the amount of RAM in bytes.
func (m *Memory) Size() uint64 { return m.size }

// PageSize is the size of the pages that the host gives the guest and takes back: a power of two, 4 KiB or more.
func (m *Memory) PageSize() uint64 { return m.page }

// Regions lists the regions in the order of their addresses. It is a copy.
func (m *Memory) Regions() []Region {
	rs := make([]Region, len(m.regions))
	for i, r := range m.regions {
		rs[i] = r.Region
	}
	return rs
}

// Slice gives the n bytes at gpa as a view of guest memory, with no room behind it. All of them must lie in one region; else
// the error wraps [ErrOutside]. The guest may change the bytes at any time. Slice does not allocate when it succeeds.
func (m *Memory) Slice(gpa, n uint64) ([]byte, error) {
	for i := range m.regions {
		if r := &m.regions[i]; r.Contains(gpa, n) {
			off := gpa - r.Start
			return r.bytes[off : off+n : off+n], nil
		}
	}
	return nil, fmt.Errorf("%d bytes at %#x: %w", n, gpa, ErrOutside)
}

// Address is where in the guest the first byte of view lies, which is not empty and was cut from [Memory.Slice]. For other slices the error
// wraps [ErrOutside].
func (m *Memory) Address(view []byte) (gpa uint64, err error) {
	addr := uint64(hostAddr(view))
	for i := range m.regions {
		r := &m.regions[i]
		if host := (Range{uint64(r.HostAddr), r.Size}); len(view) > 0 && host.Contains(addr, uint64(len(view))) {
			return r.Start + addr - host.Start, nil
		}
	}
	return 0, fmt.Errorf("address of %d bytes: %w", len(view), ErrOutside)
}

// ReadAt implements [io.ReaderAt] with guest-physical addresses. It reads all of p from one region or nothing, with an
// error that wraps [ErrOutside].
func (m *Memory) ReadAt(p []byte, gpa int64) (int, error) {
	b, err := m.Slice(uint64(gpa), uint64(len(p)))
	if err != nil {
		return 0, err
	}
	return copy(p, b), nil
}

// WriteAt implements [io.WriterAt] with guest-physical addresses. It writes all of p into one region or nothing, with an
// error that wraps [ErrOutside].
func (m *Memory) WriteAt(p []byte, gpa int64) (int, error) {
	b, err := m.Slice(uint64(gpa), uint64(len(p)))
	if err != nil {
		return 0, err
	}
	return copy(b, p), nil
}
