package uring

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnavailable says that this process cannot have a ring: the kernel is too old, kernel.io_uring_disabled or a seccomp
	// filter forbids it, or locked memory is short. A caller then moves its bytes another way.
	ErrUnavailable = errors.New("io_uring is not available")
	// ErrSlot says that a request named a slot that is not there or not free.
	ErrSlot = errors.New("io_uring slot out of range or in use")
)

// MaxSegments is the most buffers that one request can have: IOV_MAX of the kernel.
const MaxSegments = 1024

// nopSlot is the user data of the request that Wake makes; no slot has this number.
const nopSlot = ^uint64(0)

// Ring is an io_uring over one file. Methods other than [Ring.Wait] must not be called at the same time.
type Ring struct {
	fd       int
	ring     []byte // mapping of both rings
	entries  []byte // mapping of the submission entries
	table    []byte // mapping of the iovecs
	iovecs   []iovec
	segments int
	queues

	slots    []slotState
	tail     uint32 // submission tail, ours: published by Submit
	queued   uint32 // entries between the published tail and ours
	inFlight int
	refused  []int // slots that the kernel did not take, with the reason in their err
}

type slotState struct {
	busy bool
	bufs [][]byte // kept alive for the kernel
	err  error    // why the kernel did not take it
}

// Completion is what became of one request.
type Completion struct {
	Slot int
	N    int   // bytes moved; a request may be cut short, also at the end of the file
	Err  error // a [unix.Errno], or why the kernel did not take the request
}

// New makes a ring over fd with depth slots of segments buffers each. fd is registered with the ring: it may be
// closed once New has returned. An error wraps [ErrUnavailable] when io_uring itself is what cannot be had.
func New(fd, depth, segments int) (_ *Ring, err error) {
	if depth < 1 || depth > 4096 || segments < 1 || segments > MaxSegments {
		return nil, fmt.Errorf("io_uring with %d slots of %d buffers: out of range (1 to 4096, 1 to %d)", depth, segments, MaxSegments)
	}
	r := &Ring{fd: -1, segments: segments, slots: make([]slotState, depth), refused: make([]int, 0, depth)}
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	p := params{flags: setupClamp | setupSubmitAll}
	r.fd, err = setup(depth, &p)
	if errors.Is(err, unix.EINVAL) {
		p = params{flags: setupClamp}
		r.fd, err = setup(depth, &p)
	}
	if err != nil {
		return nil, setupError(err)
	}
	if p.features&featuresAtLeast != featuresAtLeast {
		return nil, fmt.Errorf("%w: kernel older than 5.9 (features %#x)", ErrUnavailable, p.features)
	}
	if err := r.mapQueues(&p); err != nil {
		return nil, err
	}
	if err := register(r.fd, fd); err != nil {
		return nil, fmt.Errorf("register a file with io_uring: %w", err)
	}
	return r, nil
}

func (r *Ring) mapQueues(p *params) (err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.ring, err = unix.Mmap(r.fd, offSQRing, ringSize(p), prot, flags); err != nil {
		return fmt.Errorf("map io_uring queues: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offSQEs, entriesSize(p), prot, flags); err != nil {
		return fmt.Errorf("map io_uring entries: %w", err)
	}
	if r.table, r.iovecs, err = iovecTable(len(r.slots) * r.segments); err != nil {
		return fmt.Errorf("map %d iovecs: %w", len(r.slots)*r.segments, err)
	}
	r.queues = view(r.ring, r.entries, p)
	for i := range r.sqArray {
		r.sqArray[i] = uint32(i) // entry i always stands at place i
	}
	return nil
}

// setupError says why io_uring_setup refused.
func setupError(err error) error {
	why := "io_uring_setup"
	switch {
	case errors.Is(err, unix.ENOSYS):
		why = "the kernel or a seccomp filter has no io_uring"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		why = "forbidden by kernel.io_uring_disabled, a seccomp filter or a security module"
	case errors.Is(err, unix.ENOMEM):
		why = "too little memory may be locked (ulimit -l)"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("io_uring_setup: %w", err)
	}
	return fmt.Errorf("%w: %s: %v", ErrUnavailable, why, err)
}

// Read queues a read at off into bufs without their first skip bytes. The first buffers that fit a slot are
// read, so that a completion can be short.
func (r *Ring) Read(slot int, bufs [][]byte, skip, off int64) error {
	return r.transfer(slot, opRead, bufs, skip, off)
}

// Write is like [Ring.Read], the other way.
func (r *Ring) Write(slot int, bufs [][]byte, skip, off int64) error {
	return r.transfer(slot, opWrite, bufs, skip, off)
}

// Datasync queues an fdatasync. It covers the writes that have completed by now.
func (r *Ring) Datasync(slot int) error {
	return r.queue(slot, nil, sqe{opcode: opFsync, opFlags: fsyncDatasync})
}

// Fallocate queues a fallocate(2) with mode over n bytes at off.
func (r *Ring) Fallocate(slot int, mode uint32, off, n int64) error {
	return r.queue(slot, nil, sqe{opcode: opFallocate, off: uint64(off), addr: uint64(n), len: mode})
}

// transfer queues a read or a write. A single buffer needs no iovec, which saves the kernel a copy.
func (r *Ring) transfer(slot int, op uint8, bufs [][]byte, skip, off int64) error {
	if slot < 0 || slot >= len(r.slots) || r.slots[slot].busy {
		return ErrSlot
	}
	v := r.iovecs[slot*r.segments : (slot+1)*r.segments]
	n := fill(v, bufs, skip)
	e := sqe{opcode: op, off: uint64(off)}
	switch {
	case n == 1 && v[0].len <= maxTransfer:
		e.addr, e.len = uint64(v[0].base), uint32(v[0].len)
	case n > 0:
		e.opcode = vectored(op)
		e.addr, e.len = uint64(tableAddress(v)), uint32(n)
	}
	return r.queue(slot, bufs, e)
}

// maxTransfer is what the kernel moves at most in one request: MAX_RW_COUNT.
const maxTransfer = 0x7ffff000

func vectored(op uint8) uint8 {
	if op == opRead {
		return opReadv
	}
	return opWritev
}

// fill puts bufs without their first skip bytes into v and returns how many iovecs that took.
func fill(v []iovec, bufs [][]byte, skip int64) int {
	n := 0
	for _, b := range bufs {
		if int64(len(b)) <= skip {
			skip -= int64(len(b))
			continue
		}
		if n == len(v) {
			break
		}
		b = b[skip:]
		skip = 0
		v[n] = iovec{base: address(b), len: uint64(len(b))}
		n++
	}
	return n
}

func (r *Ring) queue(slot int, bufs [][]byte, e sqe) error {
	if slot < 0 || slot >= len(r.slots) || r.slots[slot].busy {
		return ErrSlot
	}
	r.slots[slot].busy, r.slots[slot].bufs = true, bufs
	e.flags = sqeFixedFile
	e.userData = uint64(slot)
	r.push(e)
	r.inFlight++
	return nil
}

// push writes an entry. There is room: the ring has an entry for each slot, and Wake submits what it pushes at once.
func (r *Ring) push(e sqe) {
	r.sqes[r.tail&r.sqMask] = e
	r.tail++
	r.queued++
}

// Submit hands what was queued to the kernel. What can be done without waiting is complete when it returns.
// Requests that the kernel refuses to take complete with the reason; Submit itself never fails.
func (r *Ring) Submit() {
	if r.queued == 0 {
		return
	}
	r.sqTail.Store(r.tail)
	for tries := 0; r.queued > 0; {
		n, errno := enter(r.fd, r.queued, 0, 0)
		switch {
		case errno == 0 && n > 0:
			r.queued -= min(n, r.queued)
			tries = 0
		case errno == unix.EINTR:
		case (errno == 0 || errno == unix.EAGAIN || errno == unix.EBUSY) && tries < maxTries:
			tries++
			runtime.Gosched() // the kernel is short of memory for requests: let some complete
		default:
			r.refuse(errno)
		}
	}
}

// maxTries is how often Submit asks a kernel that says EAGAIN.
const maxTries = 1000

// refuse takes back the entries that the kernel did not take.
func (r *Ring) refuse(errno unix.Errno) {
	head := r.sqHead.Load()
	for i := head; i != r.tail; i++ {
		user := r.sqes[i&r.sqMask].userData
		if user == nopSlot {
			continue
		}
		r.slots[user].err = fmt.Errorf("io_uring_enter: %w", errno)
		r.refused = append(r.refused, int(user))
	}
	r.tail, r.queued = head, 0
	r.sqTail.Store(head)
}

// Next takes one completion that is there already; ok is false when there is none. It makes no system call.
func (r *Ring) Next() (c Completion, ok bool) {
	if n := len(r.refused); n > 0 {
		c.Slot = r.refused[n-1]
		c.Err = r.slots[c.Slot].err
		r.refused = r.refused[:n-1]
		r.free(c.Slot)
		return c, true
	}
	for {
		head := r.cqHead.Load()
		if head == r.cqTail.Load() {
			return Completion{}, false
		}
		e := r.cqes[head&r.cqMask]
		r.cqHead.Store(head + 1)
		if e.userData >= uint64(len(r.slots)) {
			continue // Wake's
		}
		c.Slot = int(e.userData)
		if e.res < 0 {
			c.Err = unix.Errno(-e.res)
		} else {
			c.N = int(e.res)
		}
		r.free(c.Slot)
		return c, true
	}
}

// Ready says whether Next would return a completion.
func (r *Ring) Ready() bool {
	return len(r.refused) > 0 || r.cqHead.Load() != r.cqTail.Load()
}

func (r *Ring) free(slot int) {
	r.slots[slot] = slotState{}
	r.inFlight--
}

// InFlight returns how many requests were queued and have not been returned by Next.
func (r *Ring) InFlight() int { return r.inFlight }

// Wait sleeps until a completion is there, or [Ring.Wake] was called. Unlike the other methods it may run beside them.
func (r *Ring) Wait() error {
	for {
		_, errno := enter(r.fd, 0, 1, enterGetEvents)
		switch errno {
		case 0:
			return nil
		case unix.EINTR: // the scheduler's signal
		case unix.EAGAIN, unix.EBUSY:
			return nil // completions are there, more than the queue holds: take them
		default:
			return fmt.Errorf("io_uring_enter: %w", errno)
		}
	}
}

// Wake ends a Wait.
func (r *Ring) Wake() {
	r.Submit()
	r.push(sqe{opcode: opNop, userData: nopSlot})
	r.Submit()
}

// Close waits until nothing is in flight, drops what completes meanwhile, and frees the ring. No Wait may be running.
func (r *Ring) Close() error {
	r.Submit()
	var err error
	for r.inFlight > 0 && err == nil {
		if _, ok := r.Next(); !ok {
			err = r.Wait()
		}
	}
	unregister(r.fd) // at once: the kernel frees a ring later, and would hold the file's locks until then
	r.release()
	return err
}

// release frees what a ring has, also half a ring.
func (r *Ring) release() {
	for _, m := range [][]byte{r.ring, r.entries, r.table} {
		if m != nil {
			unix.Munmap(m)
		}
	}
	r.ring, r.entries, r.table = nil, nil, nil
	if r.fd >= 0 {
		unix.Close(r.fd)
	}
	r.fd = -1
}

var _ io.Closer = (*Ring)(nil)
