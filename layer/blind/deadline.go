package blind

import (
	"context"
	"errors"
)

// untilDone returns what f returns, or the error of ctx as soon as that has ended. wazero cannot be interrupted: f is left behind then, with a
// context that does not end, and ends by itself or with the process.
func untilDone[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	ended := make(chan outcome, 1)
	go func() { // ends with f
		value, err := f(context.WithoutCancel(ctx))
		ended <- outcome{value, err}
	}()
	select {
	case o := <-ended:
		return o.value, o.err
	case <-ctx.Done():
		return *new(T), over(ctx)
	}
}

// over is the error of a context: nil if it has not ended, and the cause if its time is over.
func over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return ctx.Err()
}
