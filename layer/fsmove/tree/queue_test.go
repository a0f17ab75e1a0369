package tree

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAQueueEndsWithTheLastPiece has pieces make two more each, down to some depth, with more workers than there is work at first.
func TestAQueueEndsWithTheLastPiece(t *testing.T) {
	const depth = 10
	q := NewQueue(depth)
	var all sync.WaitGroup
	var done atomic.Int64
	for range 8 {
		all.Go(func() { // until nothing is left
			q.Work(t.Context(), func(n int) {
				done.Add(1)
				for range 2 {
					if n > 0 {
						q.Add(n - 1)
					}
				}
			})
		})
	}
	all.Wait()
	if n := done.Load(); n != 1<<(depth+1)-1 {
		t.Errorf("%d pieces were done, want %d", n, 1<<(depth+1)-1)
	}
}

// TestAQueueEndsWithItsContext has one piece never end before that.
func TestAQueueEndsWithItsContext(t *testing.T) {
	q := NewQueue(0)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { // until ctx ends
			q.Work(ctx, func(int) {
				stop()
				<-ctx.Done()
			})
		})
	}
	all.Wait()
}
