package migration

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
)

// ErrAway says that the source is not there, as a server or a mount that is gone.
var ErrAway = errors.New("the source is away")

// errCalling is ErrAway for who can wait for it.
var errCalling = errors.New("the source is away: wait")

// Pauses between tries to open a source that is away.
const (
	firstTry = 100 * time.Millisecond
	lastTry  = 2 * time.Second
)

// source is the tree that is moved. It may go away, as a whole, and come back at the same path.
//
// A call to it is a goroutine of its own that its caller need not wait for: the kernel may hold it until a server answers.
type source struct {
	path    string
	fd      int // is opened anew instead of the path, which leads elsewhere by now; 0 if it does not
	known   journal.Root
	timeout time.Duration // 0 for none
	patient time.Duration // how long an error of one file counts as one of the source
	logger  *slog.Logger
	slots   chan struct{} // one for each call that the kernel has
	ended   chan struct{} // closed by close, or by interrupt
	over    sync.Once     // it is

	mu   sync.Mutex
	root *root         // guarded by mu; nil while it is away
	away time.Time     // guarded by mu; since when
	back chan struct{} // guarded by mu; closed when it is back, nil if it is not away
}

// maxCalls is how many calls to the source there may be: each one that hangs is a thread.
const maxCalls = 64

// root is a source that was opened. It is closed when the last call that has it has returned.
type root struct {
	*tree.Root
	users int // guarded by source.mu; one is that of source.root
}

// startPatience is how long a process that goes on waits for the source before it does without, if a call to that does not return.
const startPatience = 5 * time.Second

// openSource opens a source. If it is to be known, and is not there, or does not answer, it counts as away.
func openSource(cfg Config, known *journal.Root) (*source, error) {
	s := &source{path: cfg.Source, fd: cfg.SourceFd, timeout: cfg.Timeout, patient: patience, logger: cfg.Logger, slots: make(chan struct{}, maxCalls), ended: make(chan struct{})}
	if s.timeout > 0 {
		s.patient = min(s.patient, s.timeout)
	}
	if known == nil {
		r, now, err := s.open()
		if err != nil {
			return nil, err
		}
		s.root, s.known = &root{r, 1}, now
		return s, nil
	}
	s.known, s.away, s.back = *known, time.Now(), make(chan struct{})
	tried := make(chan struct{})
	go s.look(0, tried) // until it is there, or close
	select {
	case <-tried:
	case <-time.After(min(startPatience, cmp.Or(s.timeout, startPatience))):
		s.logger.Error("the source does not answer: who needs it waits", "path", s.path)
	}
	return s, nil
}

// do has f call the source. If its caller does not wait to the end, do says false, and what f has is given to drop afterwards. The error is errCalling if the source is away.
func (s *source) do(ctx context.Context, f func(r *root) error, drop func()) (done bool, err error) {
	r, err := s.get()
	if err != nil {
		return true, err
	}
	var late <-chan time.Time
	began := time.Now()
	if s.timeout > 0 {
		timer := time.NewTimer(s.timeout)
		defer timer.Stop()
		late = timer.C
	}
	var left atomic.Bool // set by the first of both that has no more to do with the other
	answer := make(chan error, 1)
	select {
	case s.slots <- struct{}{}:
	case <-s.ended:
		s.put(r)
		return true, &SourceError{"", ErrAway}
	case <-ctx.Done():
		s.put(r)
		return true, context.Cause(ctx)
	case <-late:
		s.lost(r, began, errors.New("calls do not return"))
		s.put(r)
		return true, errCalling
	}
	go func() { // until the kernel has answered
		err := f(r)
		if isDead(err) {
			if gone := tree.Alive(r.Fd()); isDead(gone) {
				s.lost(r, began, err)
				err = errCalling
			} else if s.renew(r) {
				err = errCalling
			} else {
				err = unsure{err}
			}
		}
		s.put(r)
		<-s.slots
		if answer <- err; left.Swap(true) {
			drop()
		}
	}()
	select {
	case err := <-answer:
		return true, err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.ended:
		err = &SourceError{"", ErrAway}
	case <-late:
		s.lost(r, began, errors.New("calls do not return"))
		err = errCalling
	}
	if left.Swap(true) { // it has just returned
		return true, <-answer
	}
	return false, err
}

// get is the root as it is now, to be put.
func (s *source) get() (*root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return nil, &SourceError{"", ErrAway}
	default:
	}
	if s.root == nil {
		return nil, errCalling
	}
	s.root.users++
	return s.root, nil
}

func (s *source) put(r *root) {
	s.mu.Lock()
	r.users--
	last := r.users == 0
	s.mu.Unlock()
	if last {
		_ = r.Close() // nothing was written
	}
}

// lost says that a root is away, and has it looked for. Nothing happens if another has taken its place.
func (s *source) lost(r *root, since time.Time, why error) {
	s.mu.Lock()
	if s.root != r || s.back != nil {
		s.mu.Unlock()
		return
	}
	s.root, s.away, s.back = nil, since, make(chan struct{})
	s.mu.Unlock()
	s.logger.Error("the source is away: who needs it waits", "path", s.path, "err", why)
	if r != nil {
		s.put(r)
	}
	go s.look(firstTry, nil) // until it is back, or close
}

// look opens the source until it is there, after a pause, and closes tried, if it is not nil, after the first time.
func (s *source) look(pause time.Duration, tried chan<- struct{}) {
	last := ""
	for {
		select {
		case <-s.ended:
			return
		case <-time.After(pause):
		}
		r, now, err := s.open()
		if err == nil {
			if err = s.isKnown(now); err != nil {
				_ = r.Close() // nothing was written
			}
		}
		if err == nil {
			s.found(&root{r, 1}, tried == nil)
		} else if err.Error() != last {
			last = err.Error()
			s.logger.Warn("the source is away: who needs it waits", "err", err)
		}
		if tried != nil {
			close(tried)
			tried = nil
		}
		if err == nil {
			return
		}
		pause = max(firstTry, min(2*pause, lastTry))
	}
}

// found says that the source is there, and the log that it is again.
func (s *source) found(r *root, again bool) {
	s.mu.Lock()
	select {
	case <-s.ended:
		s.mu.Unlock()
		_ = r.Close() // nothing was written
		return
	default:
	}
	away := s.away
	s.root, s.away = r, time.Time{}
	close(s.back)
	s.back = nil
	s.mu.Unlock()
	if again {
		s.logger.Info("the source is back", "path", s.path, "away", time.Since(away))
	}
}

// wait returns nil when the source is there. Whoever has waited for longer than the timeout since it went gets ErrAway.
func (s *source) wait(ctx context.Context) error {
	s.mu.Lock()
	back, away := s.back, s.away
	s.mu.Unlock()
	if back == nil {
		return nil
	}
	var late <-chan time.Time
	if s.timeout > 0 {
		timer := time.NewTimer(time.Until(away.Add(s.timeout)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-back:
		return nil
	case <-late:
		return &SourceError{"", ErrAway}
	case <-s.ended:
		return &SourceError{"", ErrAway}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// insist calls f again after each time that the source was away, for which it waits without what f holds. An error of one file may be that, too, for a while.
func (s *source) insist(ctx context.Context, f func() error) error {
	var since time.Time
	for {
		err := f()
		switch {
		case errors.Is(err, errCalling):
			err = s.wait(ctx)
		case errors.As(err, new(unsure)) && ctx.Value(atOnce{}) == nil:
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) >= s.patient {
				return err
			}
			err = pause(ctx, min(betweenTries, s.patient))
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// How long who asks for one file waits until it is that file's error, and how often it tries.
const (
	patience     = time.Minute
	betweenTries = time.Second
)

// atOnce is a value of a context: whoever has it comes again, and does not wait.
type atOnce struct{}

// pause waits, or says why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// awaySince is when it went away, zero if it is there.
func (s *source) awaySince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

// close ends the search for a source that is away, and its use when all calls have returned.
func (s *source) close() {
	s.mu.Lock()
	r := s.root
	s.root = nil
	s.interrupt()
	s.mu.Unlock()
	if r != nil {
		s.put(r)
	}
}

// interrupt has nobody wait for the source any more.
func (s *source) interrupt() { s.over.Do(func() { close(s.ended) }) }

// Interrupt has nobody wait for the source any more, whether it comes back or not: nobody asks for anything from then on.
func (m *Migration) Interrupt() {
	if m.src != nil {
		m.src.interrupt()
	}
}
