package migration

import "context"

// lock is a mutex that need not be waited for.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// take takes it, or says why ctx has ended.
func (l lock) take(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// give gives it back.
func (l lock) give() { <-l }
