package blk

import (
	"errors"
	"sync"
	"time"

	"usui/machine/block"
	"usui/machine/virtio"
)

// A group of requests goes to the backend when it has one of these sizes: many small ones share a system call, and the driver
// does not wait for many large ones to get the first.
const (
	groupRequests = 32
	groupBytes    = 512 << 10
)

// loneEnough is after how many requests in a row that came one at a time the driver is taken for one that waits for
// each: then the goroutine too has nothing else to do while storage works.
const loneEnough = 16

// queue serves one virtqueue. Its goroutine has the available side; the used side is whoever holds mu.
type queue struct {
	dev      *Blk
	vq       *virtio.Queue
	features uint64

	// Of the goroutine.
	chain  virtio.Chain
	group  []block.Request
	waited bool // nothing was there before the group came
	lone   int  // groups in a row that were one request with nothing else in flight

	mu         sync.Mutex
	slots      []slot    // a slot in flight belongs to the backend's completion, a free one to mu
	free       []int     // guarded by mu
	submitting bool      // guarded by mu; the goroutine will notify
	starved    bool      // guarded by mu; the goroutine waits for a free slot
	idle       sync.Cond // all slots are free

	done  block.Completion // complete, made once
	timer *time.Timer      // wakes the goroutine that a limit keeps waiting
}

// newQueue makes the queue with its share of the backend's depth.
func newQueue(d *Blk, vq *virtio.Queue, features uint64, depth int) *queue {
	n := min(vq.Size(), depth)
	q := &queue{dev: d, vq: vq, features: features, slots: make([]slot, n), group: make([]block.Request, 0, groupRequests)}
	q.idle.L = &q.mu
	q.done = q.complete
	q.timer = time.AfterFunc(time.Hour, vq.Wake) // its time comes when there is something to wait for
	q.timer.Stop()
	for i := n - 1; i >= 0; i-- {
		q.free = append(q.free, i)
	}
	return q
}

// serve runs until Stop, or until the driver breaks the queue.
func (q *queue) serve() {
	for !q.dev.stopping.Load() { // a driver that goes on while it is reset does not keep us here
		held, err := q.collect()
		if err != nil {
			for _, r := range q.group { // popped before the fault: they must not keep Stop waiting
				q.answer(int(r.Tag), statusIOErr)
			}
			return
		}
		if len(q.group) > 0 {
			q.submit()
			continue
		}
		if held || !q.vq.Arm() {
			if !q.vq.Wait() {
				return
			}
			q.waited = true
			q.dev.counters.wakeups.Add(1)
		}
		q.vq.Disarm()
	}
}

// collect makes a group of the next requests. held says that it ended with nothing in it for want of a slot or because of a limit: a
// completion or the timer will wake us.
func (q *queue) collect() (held bool, err error) {
	q.group = q.group[:0]
	now := time.Now()
	for bytes := int64(0); len(q.group) < groupRequests && bytes < groupBytes; {
		if wait := q.dev.limit.Wait(now); wait > 0 {
			if len(q.group) == 0 {
				q.dev.counters.held.Add(1)
				q.timer.Reset(wait)
			}
			return len(q.group) == 0, nil
		}
		i, ok := q.take()
		if !ok {
			return len(q.group) == 0, nil
		}
		ok, err := q.vq.Pop(&q.chain)
		if err != nil || !ok {
			q.giveBack(i)
			return false, err
		}
		s, r := &q.slots[i], block.Request{}
		submit, status := q.parse(&q.chain, s, &r)
		if !submit {
			q.answer(i, status)
			continue
		}
		r.Tag, s.began = uint64(i), now
		if s.op != block.Flush {
			q.dev.limit.Take(uint64(max(0, s.length)), now)
		}
		q.group = append(q.group, r)
		bytes += s.length
	}
	return false, nil
}

// submit hands the group over. Completions that arrive before it returns are notified once, by it.
func (q *queue) submit() {
	q.mu.Lock()
	q.submitting = true
	alone := len(q.slots)-len(q.free) == 1
	q.mu.Unlock()
	q.dev.counters.groups.Add(1)
	var err error
	if q.mayWait(alone) {
		err = q.dev.waiter.SubmitAndWait(q.group, q.done)
	} else {
		err = q.dev.backend.Submit(q.group, q.done)
	}
	if err != nil {
		for i := range q.group {
			q.complete(q.group[i].Tag, err)
		}
	}
	q.mu.Lock()
	q.submitting = false
	q.vq.Notify()
	q.mu.Unlock()
}

// mayWait says whether the group is a request that its driver most likely waits for before it sends the next. A driver
// with more to send shows it: the next request is there when the wait is over, and the count starts again.
func (q *queue) mayWait(alone bool) bool {
	if !alone || !q.waited {
		q.lone = 0
	} else if q.lone <= loneEnough {
		q.lone++
	}
	q.waited = false
	op := q.group[0].Op
	return q.lone > loneEnough && q.dev.waiter != nil && (op == block.Read || op == block.Write)
}

// complete is the backend's [block.Completion].
func (q *queue) complete(tag uint64, err error) {
	s := &q.slots[tag]
	if err == nil && s.op == block.Write && !s.flushed && q.features&FeatureFlush == 0 {
		s.flushed = true
		err = q.dev.backend.Submit([]block.Request{{Op: block.Flush, Tag: tag}}, q.done)
		if err == nil {
			return
		}
	}
	status := byte(statusOK)
	if err != nil {
		q.dev.failed(err)
		status = statusIOErr
		if errors.Is(err, block.ErrUnsupported) {
			status = statusUnsupported
		}
	}
	q.dev.counters.count(s, time.Since(s.began))
	q.answer(int(tag), status)
}

// answer returns a request to the driver. It interrupts it, unless a submit is going on, which will.
func (q *queue) answer(i int, status byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.slots[i]
	if s.status != nil {
		s.status[0] = status
	}
	written := s.done
	if status != statusOK {
		written = s.failed
	}
	q.vq.Push(s.head, written)
	s.reset()
	q.release(i)
	if !q.submitting {
		q.vq.Notify()
	}
}

// take gets a free slot for the goroutine.
func (q *queue) take() (int, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.free)
	if n == 0 {
		q.starved = true
		return 0, false
	}
	i := q.free[n-1]
	q.free = q.free[:n-1]
	return i, true
}

func (q *queue) giveBack(i int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(i)
}

// release frees a slot. It is called with mu.
func (q *queue) release(i int) {
	q.free = append(q.free, i)
	if q.starved {
		q.starved = false
		q.vq.Wake()
	}
	if len(q.free) == len(q.slots) {
		q.idle.Broadcast()
	}
}

// drain waits until nothing is in flight. The goroutine has ended.
func (q *queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.free) < len(q.slots) {
		q.idle.Wait()
	}
}
