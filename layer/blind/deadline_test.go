package blind

import (
	"context"
	"errors"
	"testing"
)

func TestUntilDone(t *testing.T) {
	if n, err := untilDone(t.Context(), func(context.Context) (int, error) { return 7, nil }); n != 7 || err != nil {
		t.Errorf("untilDone = %d, %v, want what the function returns", n, err)
	}
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	release, ended := make(chan struct{}), make(chan error)
	cancel(cause)
	_, err := untilDone(ctx, func(ctx context.Context) (int, error) {
		<-release
		ended <- ctx.Err()
		return 7, nil
	})
	if err != context.Canceled { // which the command line takes for a signal
		t.Errorf("untilDone with a context that has ended: %v, want %v", err, context.Canceled)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("what was left behind has a context that has ended: %v", err)
	}
}
