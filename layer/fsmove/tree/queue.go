package tree

import (
	"context"
	"sync"
)

// Queue is work that makes more of its kind, such as folders of a tree, done by several workers at once. What came last is done first, so that little waits.
type Queue[T any] struct {
	mu      sync.Mutex
	changed sync.Cond // items or pending has been
	items   []T       // guarded by mu
	pending int       // guarded by mu; items, and what is being done
}

// NewQueue is a queue with the first piece of work.
func NewQueue[T any](first T) *Queue[T] {
	q := &Queue[T]{items: []T{first}, pending: 1}
	q.changed.L = &q.mu
	return q
}

// Add adds a piece. Only who does one adds others.
func (q *Queue[T]) Add(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
	q.pending++
	q.changed.Signal()
}

// Work is one worker: it calls do with one piece after the other, until nothing is left and nobody adds more, or ctx ends.
func (q *Queue[T]) Work(ctx context.Context, do func(T)) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})
	defer stop()
	for item, ok := q.take(ctx); ok; item, ok = q.take(ctx) {
		do(item)
		q.done()
	}
}

func (q *Queue[T]) take(ctx context.Context) (item T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && q.pending > 0 && ctx.Err() == nil {
		q.changed.Wait()
	}
	if q.pending == 0 || ctx.Err() != nil {
		return item, false
	}
	last := len(q.items) - 1
	item, q.items = q.items[last], q.items[:last]
	return item, true
}

func (q *Queue[T]) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending--; q.pending == 0 {
		q.changed.Broadcast()
	}
}
