package block

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// workerCount bounds the threads that wait for storage at a time, one disk's.
const workerCount = 16

// workers moves bytes by preadv and pwritev. What does not wait is done by the submitter, the rest by goroutines.
type workers struct {
	file *File

	inline  sync.Mutex   // of the submitter that does what does not wait
	vectors []unix.Iovec // guarded by inline
	nowait  atomic.Bool  // RWF_NOWAIT may work here

	mu      sync.Mutex
	jobs    []job     // by slot; a slot's job belongs to whoever took the slot out of free or queue
	free    []int     // guarded by mu
	queue   []int     // guarded by mu; ring of slots that wait for a worker
	head    int       // guarded by mu; first in queue
	queued  int       // guarded by mu; how many in queue
	closed  bool      // guarded by mu; no submitter takes a slot any more
	drained bool      // guarded by mu; nothing will be queued any more
	work    sync.Cond // queued or drained changed

	submitters, running sync.WaitGroup // slots that submitters hold; worker goroutines
}

func newWorkers(f *File) *workers {
	w := &workers{file: f, jobs: make([]job, depth), queue: make([]int, depth), vectors: make([]unix.Iovec, segments)}
	w.nowait.Store(true)
	w.work.L = &w.mu
	for i := depth - 1; i >= 0; i-- {
		w.free = append(w.free, i)
	}
	for range workerCount {
		w.running.Go(w.serve) // ended by close
	}
	return w
}

func (w *workers) submit(reqs []Request, done Completion, wait bool) (taken int, err error) {
	for i := range reqs {
		slot, err := w.reserve()
		if err != nil {
			return i, err
		}
		j := &w.jobs[slot]
		*j = w.file.newJob(&reqs[i], done)
		if over, err := w.tryInline(j, wait); over {
			w.finish(slot, err)
		} else {
			w.enqueue(slot)
		}
		w.submitters.Done()
	}
	return len(reqs), nil
}

func (w *workers) enqueue(slot int) {
	w.mu.Lock()
	w.queue[(w.head+w.queued)%depth] = slot
	w.queued++
	w.work.Signal()
	w.mu.Unlock()
}

// reserve takes a free slot for a submitter.
func (w *workers) reserve() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, ErrClosed
	}
	n := len(w.free)
	if n == 0 {
		return 0, ErrDepth
	}
	slot := w.free[n-1]
	w.free = w.free[:n-1]
	w.submitters.Add(1)
	return slot, nil
}

// finish frees the slot, then calls the completion.
func (w *workers) finish(slot int, err error) {
	j := &w.jobs[slot]
	f := finished{j.done, j.req.Tag, err}
	*j = job{}
	w.mu.Lock()
	w.free = append(w.free, slot)
	w.mu.Unlock()
	f.done(f.tag, f.err)
}

// tryInline does a job on the submitter's thread if that takes no waiting, or if it may wait: anything on a file in
// memory, else a read of what the page cache holds.
func (w *workers) tryInline(j *job, wait bool) (over bool, err error) {
	flags := 0
	switch {
	case wait, w.file.inMemory:
	case j.req.Op == Read && w.nowait.Load():
		flags = unix.RWF_NOWAIT
	default:
		return false, nil
	}
	if !w.inline.TryLock() {
		return false, nil
	}
	defer w.inline.Unlock()
	for !over {
		var n int
		n, err = w.call(j, w.vectors, flags)
		if flags != 0 && err != nil {
			if err != unix.EAGAIN {
				w.nowait.Store(false) // EOPNOTSUPP, or an error that a worker shall meet again
			}
			return false, nil
		}
		over, err = w.file.settle(j, n, err)
	}
	return over, err
}

// serve is a worker. It ends when the engine is closed and the queue is empty.
func (w *workers) serve() {
	vectors := make([]unix.Iovec, segments)
	for {
		w.mu.Lock()
		for w.queued == 0 && !w.drained {
			w.work.Wait()
		}
		if w.queued == 0 {
			w.mu.Unlock()
			return
		}
		slot := w.queue[w.head]
		w.head = (w.head + 1) % depth
		w.queued--
		w.mu.Unlock()
		j := &w.jobs[slot]
		var err error
		for over := false; !over; {
			var n int
			n, err = w.call(j, vectors, 0)
			over, err = w.file.settle(j, n, err)
		}
		w.finish(slot, err)
	}
}

// call makes the next system call for a job.
func (w *workers) call(j *job, v []unix.Iovec, flags int) (int, error) {
	f := w.file
	switch j.req.Op {
	case Read:
		return preadv(f.fd, fill(v, j.req.Buffers, j.pos), j.req.Offset+j.pos, flags)
	case Write:
		return pwritev(f.fd, fill(v, j.req.Buffers, j.pos), j.req.Offset+j.pos)
	case Flush:
		return 0, unix.Fdatasync(f.fd)
	case Discard:
		return 0, unix.Fallocate(f.fd, punchHole, j.req.Offset, j.length)
	case Zero:
		if j.writes {
			return pwritev(f.fd, fill(v, f.nextZeroes(j), 0), j.req.Offset+j.pos)
		}
		return 0, unix.Fallocate(f.fd, zeroRange, j.req.Offset, j.length)
	}
	return 0, ErrUnsupported
}

// fill puts bufs without their first skip bytes into v and returns the part of v that it took.
func fill(v []unix.Iovec, bufs [][]byte, skip int64) []unix.Iovec {
	n := 0
	for _, b := range bufs {
		if int64(len(b)) <= skip {
			skip -= int64(len(b))
			continue
		}
		if n == len(v) {
			break
		}
		v[n].Base = &b[skip]
		v[n].SetLen(len(b) - int(skip))
		skip = 0
		n++
	}
	return v[:n]
}

func (w *workers) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.submitters.Wait()
	w.mu.Lock()
	w.drained = true
	w.work.Broadcast()
	w.mu.Unlock()
	w.running.Wait()
	return nil
}
