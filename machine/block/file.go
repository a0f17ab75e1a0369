package block

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usui/host/uring"
)

// Engine is how a [File] reaches the kernel.
type Engine uint8

// The engines. EngineAuto takes EnginePread for files in memory, else EngineURing, and EnginePread where io_uring cannot be had.
const (
	EngineAuto  Engine = iota
	EngineURing        // io_uring
	EnginePread        // preadv and pwritev
)

// String is the engine's name.
func (e Engine) String() string {
	switch e {
	case EngineURing:
		return "uring"
	case EnginePread:
		return "pread"
	}
	return "auto"
}

// Options say how to open a disk. The zero value opens it for writing with the best engine.
type Options struct {
	ReadOnly bool
	Engine   Engine
}

// depth is how many requests a File takes at a time: as many as a queue of virtio-blk has entries.
const depth = 256

// segments is how many buffers go to the kernel in one call: a driver's usual most. Longer requests take several calls.
const segments = 256

// engine is the part of a File that differs. submit takes the first requests of reqs, which are valid, and returns
// how many; err says why not all. wait lets it sleep until something is complete.
type engine interface {
	submit(reqs []Request, done Completion, wait bool) (taken int, err error)
	close() error
}

// File is a disk in a raw file or on a block device. It implements [Backend].
type File struct {
	path     string
	fd       int
	geometry Geometry
	device   bool   // a block device
	number   uint64 // its device number
	inMemory bool   // tmpfs: reads and writes do not wait
	used     Engine
	engine   engine
	closed   atomic.Bool

	zeroByWriting atomic.Bool // the file system has no FALLOC_FL_ZERO_RANGE
	zeroOnce      sync.Once
	zero          []byte // zeroes to write
}

// OpenFile opens the raw disk at path, a regular file or a block device, and locks it: for itself when it writes, together
// with other readers when it does not. Errors are [*fs.PathError] where the system refused to open it, wrap [ErrInUse]
// when someone else has the disk, and [uring.ErrUnavailable] when EngineURing was asked for and cannot be had.
func OpenFile(path string, o Options) (_ *File, err error) {
	f := &File{path: path, fd: -1}
	defer func() {
		if err != nil {
			f.release()
		}
	}()
	if err := f.open(o.ReadOnly); err != nil {
		return nil, err
	}
	if err := f.inspect(o.ReadOnly); err != nil {
		return nil, err
	}
	if err := f.lock(); err != nil {
		return nil, err
	}
	f.probeHoles()
	return f, f.start(o.Engine)
}

// open opens the path. O_EXCL claims a block device and means nothing for files; O_NONBLOCK does not wait for the
// other end of a FIFO, which inspect then refuses.
func (f *File) open(readOnly bool) error {
	flags := unix.O_RDWR | unix.O_EXCL
	if readOnly {
		flags = unix.O_RDONLY
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(f.path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if err == unix.EBUSY {
		return fmt.Errorf("%s: %w by the kernel (mounted, or part of a RAID or volume group); unmount it, or attach it read-only", f.path, ErrInUse)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: f.path, Err: err}
	}
	f.fd = fd
	// Left on, io_uring would answer EAGAIN instead of waiting for storage.
	return unix.SetNonblock(fd, false)
}

func (f *File) start(want Engine) error {
	if want == EngineURing || want == EngineAuto && !f.inMemory {
		ring, err := newRingEngine(f)
		if err == nil {
			f.engine, f.used = ring, EngineURing
			return nil
		}
		if want == EngineURing || !errors.Is(err, uring.ErrUnavailable) {
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	f.engine, f.used = newWorkers(f), EnginePread
	return nil
}

// Geometry implements [Backend].
func (f *File) Geometry() Geometry { return f.geometry }

// Engine is the engine in use.
func (f *File) Engine() Engine { return f.used }

// Submit implements [Backend].
func (f *File) Submit(reqs []Request, done Completion) error { return f.submit(reqs, done, false) }

// SubmitAndWait implements [Waiter].
func (f *File) SubmitAndWait(reqs []Request, done Completion) error {
	return f.submit(reqs, done, true)
}

func (f *File) submit(reqs []Request, done Completion, wait bool) error {
	if f.closed.Load() {
		return fmt.Errorf("%s: %w", f.path, ErrClosed)
	}
	for len(reqs) > 0 {
		n := f.run(reqs)
		taken, err := f.engine.submit(reqs[:n], done, wait)
		for i := taken; i < n; i++ {
			done(reqs[i].Tag, fmt.Errorf("%s: %w", f.path, err))
		}
		if n < len(reqs) {
			done(reqs[n].Tag, f.refusal(&reqs[n]))
			n++
		}
		reqs = reqs[n:]
	}
	return nil
}

// run returns how many requests at the start of reqs need the kernel; the one after them does not.
func (f *File) run(reqs []Request) int {
	for i := range reqs {
		if f.refusal(&reqs[i]) != nil || reqs[i].Op != Flush && reqs[i].Bytes() == 0 {
			return i
		}
	}
	return len(reqs)
}

// refusal says what is wrong with a request.
func (f *File) refusal(r *Request) error {
	if err := f.geometry.Check(r); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

// Close implements [Backend].
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	err := f.engine.close()
	return errors.Join(err, f.release())
}

// release closes the descriptor, also of half a File. The lock goes first: other references to the open file may outlive us
// for a moment inside the kernel.
func (f *File) release() error {
	if f.fd < 0 {
		return nil
	}
	f.unlock()
	err := unix.Close(f.fd)
	f.fd = -1
	return err
}

// retry calls a system call again when a signal interrupted it, which the runtime's own signals do.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

var (
	_ Backend = (*File)(nil)
	_ Waiter  = (*File)(nil)
)
