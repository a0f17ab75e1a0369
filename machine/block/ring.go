package block

import (
	"sync"

	"usui/host/uring"
)

// ringEngine moves bytes through an io_uring. Whoever submits also takes what has completed by then; a reaper
// goroutine sleeps in the kernel for the rest, and only while there is a rest that no submitter waits for.
type ringEngine struct {
	file *File

	mu      sync.Mutex
	ring    *uring.Ring // guarded by mu, but for Wait
	jobs    []job       // guarded by mu; by slot
	free    []int       // guarded by mu
	closed  bool        // guarded by mu
	waiting bool        // guarded by mu; somebody sleeps in the kernel, or is about to
	work    sync.Cond   // the reaper's, while it has nothing to wait for

	submitters, reaper sync.WaitGroup
}

func newRingEngine(f *File) (*ringEngine, error) {
	ring, err := uring.New(f.fd, depth, segments)
	if err != nil {
		return nil, err
	}
	e := &ringEngine{file: f, ring: ring, jobs: make([]job, depth)}
	e.work.L = &e.mu
	for i := depth - 1; i >= 0; i-- {
		e.free = append(e.free, i)
	}
	e.reaper.Go(e.reap) // ended by close
	return e, nil
}

// finished is a request that is done, on its way to its completion outside the lock.
type finished struct {
	done Completion
	tag  uint64
	err  error
}

// batch is a few of them; its size only bounds the stack it lies on.
type batch struct {
	list [32]finished
	n    int
}

func (b *batch) call() {
	for i := range b.list[:b.n] {
		b.list[i].done(b.list[i].tag, b.list[i].err)
	}
}

func (e *ringEngine) submit(reqs []Request, done Completion, wait bool) (taken int, err error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return 0, ErrClosed
	}
	e.submitters.Add(1)
	defer e.submitters.Done()
	switch {
	case len(reqs) > len(e.free):
		taken, err = len(e.free), ErrDepth
	default:
		taken = len(reqs)
	}
	for i := range reqs[:taken] {
		slot := e.free[len(e.free)-1]
		e.free = e.free[:len(e.free)-1]
		e.jobs[slot] = e.file.newJob(&reqs[i], done)
		e.start(slot)
	}
	e.ring.Submit()
	waited := wait && !e.waiting && !e.ring.Ready()
	if waited {
		e.sleep()
	}
	e.finish(waited)
	return taken, err
}

// sleep waits for a completion in the kernel, one goroutine at a time. It is called with mu, which it gives up meanwhile.
func (e *ringEngine) sleep() {
	e.waiting = true
	e.mu.Unlock()
	if err := e.ring.Wait(); err != nil {
		panic("BUG: block: wait for a ring of our own: " + err.Error())
	}
	e.mu.Lock()
	e.waiting = false
}

// finish calls the completions of what is done. It is entered with mu and leaves without it. After close only who
// has waited takes anything: another could take the very completion that wakes him.
func (e *ringEngine) finish(waited bool) {
	var b batch
	for more := true; more; {
		b.n, more = 0, false
		if waited || !e.closed {
			more = e.take(&b)
		}
		if !e.waiting && (e.closed || e.ring.InFlight() > 0) {
			e.work.Signal()
		}
		e.mu.Unlock()
		b.call()
		if more {
			e.mu.Lock()
		}
	}
}

// take moves what is done into b, and starts what is only half done again. It says whether b was too small.
func (e *ringEngine) take(b *batch) (more bool) {
	for b.n < len(b.list) {
		c, ok := e.ring.Next()
		if !ok {
			return false
		}
		j := &e.jobs[c.Slot]
		over, err := e.file.settle(j, c.N, c.Err)
		if !over {
			e.start(c.Slot)
			e.ring.Submit()
			continue
		}
		b.list[b.n] = finished{j.done, j.req.Tag, err}
		b.n++
		*j = job{}
		e.free = append(e.free, c.Slot)
	}
	return true
}

// start queues the next call of a job.
func (e *ringEngine) start(slot int) {
	j := &e.jobs[slot]
	var err error
	switch j.req.Op {
	case Read:
		err = e.ring.Read(slot, j.req.Buffers, j.pos, j.req.Offset+j.pos)
	case Write:
		err = e.ring.Write(slot, j.req.Buffers, j.pos, j.req.Offset+j.pos)
	case Flush:
		err = e.ring.Datasync(slot)
	case Discard:
		err = e.ring.Fallocate(slot, punchHole, j.req.Offset, j.length)
	case Zero:
		if j.writes {
			err = e.ring.Write(slot, e.file.nextZeroes(j), 0, j.req.Offset+j.pos)
		} else {
			err = e.ring.Fallocate(slot, zeroRange, j.req.Offset, j.length)
		}
	}
	if err != nil {
		panic("BUG: block: " + err.Error()) // the slot was free
	}
}

// reap runs until close. It looks at nothing but what is in flight: that is the rest which submitters did not take.
func (e *ringEngine) reap() {
	e.mu.Lock()
	for {
		for e.waiting || e.ring.InFlight() == 0 && !e.closed {
			e.work.Wait()
		}
		if e.ring.InFlight() == 0 {
			e.mu.Unlock()
			return
		}
		e.sleep()
		e.finish(true)
		e.mu.Lock()
	}
}

// close waits for what is in flight and for completions that still run. Who sleeps may do so with nothing in flight, when
// a submitter took it all.
func (e *ringEngine) close() error {
	e.mu.Lock()
	e.closed = true
	if e.waiting {
		e.ring.Wake()
	}
	e.work.Signal()
	e.mu.Unlock()
	e.submitters.Wait()
	e.reaper.Wait()
	return e.ring.Close()
}
