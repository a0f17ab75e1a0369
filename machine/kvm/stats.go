package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stats returns the kernel's statistics of the machine, such as "remote_tlb_flush", by name. Histograms have
// several values. Kernels before 5.14 have none: the error wraps [errors.ErrUnsupported].
func (vm *VM) Stats() (map[string][]uint64, error) {
	s, err := openStats(vm.fd)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.values()
}

// Stats returns the kernel's statistics of the vCPU, such as "exits" or "halt_exits", by name; see [VM.Stats]. Unlike
// most methods it may be called from any goroutine at any time.
func (v *VCPU) Stats() (map[string][]uint64, error) { return v.stats.values() }

// Stat returns one statistic of the vCPU, the first value of a histogram. It allocates nothing and may be called like Stats. A kernel that
// has none of the name gives an error that wraps [errors.ErrUnsupported].
func (v *VCPU) Stat(name string) (uint64, error) { return v.stats.value(name) }

// statsFile is a descriptor of binary statistics (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
type statsFile struct {
	mu     sync.Mutex
	file   *os.File // guarded by mu
	gone   error    // guarded by mu; why there is no file
	word   [8]byte  // guarded by mu; what value reads
	layout statsLayout
}

// openStats asks for the statistics of a machine or a vCPU. A vCPU answers only while it is not running. A kernel
// without statistics gives a file that says so when it is read.
func openStats(fd int) (*statsFile, error) {
	syscall.ForkLock.RLock() // the kernel makes this one descriptor without close-on-exec
	n, e := ioctlValue(fd, kvmGetStatsFD, 0)
	if e == nil {
		unix.CloseOnExec(n)
	}
	syscall.ForkLock.RUnlock()
	if e != nil && e.Errno == unix.ENOTTY {
		return &statsFile{gone: fmt.Errorf("%v: %w", kvmGetStatsFD, errors.ErrUnsupported)}, nil
	}
	if e != nil {
		return nil, e
	}
	s := &statsFile{file: os.NewFile(uintptr(n), "kvm statistics")}
	if err := s.layout.read(s.file); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *statsFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file, s.gone = nil, os.ErrClosed
	return file.Close()
}

func (s *statsFile) values() (map[string][]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil, s.gone
	}
	return s.layout.values(s.file)
}

func (s *statsFile) value(name string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return 0, s.gone
	}
	for i := range s.layout.stats {
		if one := &s.layout.stats[i]; one.name == name && one.count > 0 {
			_, err := s.file.ReadAt(s.word[:], s.layout.start+int64(one.offset))
			return binary.NativeEndian.Uint64(s.word[:]), err
		}
	}
	return 0, fmt.Errorf("statistic %q: %w", name, errors.ErrUnsupported)
}

// statsLayout says which value lies where in the file; it does not change.
type statsLayout struct {
	start int64 // of the values, offset in the file
	bytes int   // of all values
	stats []statistic
}

type statistic struct {
	name   string
	offset int // in the values, bytes
	count  int // of 64-bit values
}

// Bounds for what the header says, far above what kernels have: 48 bytes of name, some dozens of statistics.
const (
	maxStats     = 1 << 12
	maxStatName  = 1 << 10
	maxStatBytes = 1 << 20
)

func (l *statsLayout) read(file io.ReaderAt) error {
	var h statsHeader
	if err := binary.Read(io.NewSectionReader(file, 0, maxStatBytes), binary.NativeEndian, &h); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if h.NumDesc > maxStats || h.NameSize > maxStatName {
		return fmt.Errorf("%d statistics with names of %d bytes", h.NumDesc, h.NameSize)
	}
	l.start = int64(h.DataOffset)
	r := io.NewSectionReader(file, int64(h.DescOffset), maxStats*maxStatName*2)
	name := make([]byte, h.NameSize)
	total := 0 // bytes of the values, counted once for each statistic
	for range h.NumDesc {
		var d statsDesc
		if err := binary.Read(r, binary.NativeEndian, &d); err != nil {
			return fmt.Errorf("read descriptor %d: %w", len(l.stats), err)
		}
		if _, err := io.ReadFull(r, name); err != nil {
			return fmt.Errorf("read name %d: %w", len(l.stats), err)
		}
		text, _, _ := strings.Cut(string(name), "\x00")
		l.stats = append(l.stats, statistic{text, int(d.Offset), int(d.Size)})
		l.bytes = max(l.bytes, int(d.Offset)+8*int(d.Size))
		total += 8 * int(d.Size)
	}
	if l.bytes > maxStatBytes || total > maxStatBytes {
		return fmt.Errorf("values of %d bytes in %d", total, l.bytes)
	}
	return nil
}

func (l *statsLayout) values(file io.ReaderAt) (map[string][]uint64, error) {
	data := make([]byte, l.bytes)
	if _, err := io.ReadFull(io.NewSectionReader(file, l.start, int64(l.bytes)), data); err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	all := make(map[string][]uint64, len(l.stats))
	for _, s := range l.stats {
		list := make([]uint64, s.count)
		for i := range list {
			list[i] = binary.NativeEndian.Uint64(data[s.offset+8*i:])
		}
		all[s.name] = list
	}
	return all, nil
}
