package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
	logger  *slog.Logger
	slots   chan struct{} // one for each call that the kernel has
	ended   chan struct{} // closed by close

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

// openSource opens a source. If it is to be known, and is not there, it counts as away.
func openSource(cfg Config, known *journal.Root) (*source, error) {
	s := &source{path: cfg.Source, fd: cfg.SourceFd, timeout: cfg.Timeout, logger: cfg.Logger, slots: make(chan struct{}, maxCalls), ended: make(chan struct{})}
	if known != nil {
		s.known = *known
	}
	r, now, err := s.open()
	switch {
	case err == nil && known == nil:
		s.known = now
	case err == nil:
		err = s.isKnown(now)
	}
	if err == nil {
		s.root = &root{r, 1}
		return s, nil
	}
	if r != nil {
		err = errors.Join(err, r.Close())
	}
	if known == nil {
		return nil, err
	}
	s.lost(nil, time.Now(), err)
	return s, nil
}

// open opens the source's root and says what it can be known by.
func (s *source) open() (*tree.Root, journal.Root, error) {
	r, err := s.openRoot()
	if err != nil {
		return nil, journal.Root{}, err
	}
	var fs unix.Statfs_t
	m, err := tree.Stat(r.Fd(), "")
	if err == nil {
		err = unix.Fstatfs(r.Fd(), &fs)
	}
	if err != nil {
		return nil, journal.Root{}, errors.Join(err, r.Close())
	}
	return r, journal.Root{FS: uint64(uint32(fs.Fsid.Val[0])) | uint64(uint32(fs.Fsid.Val[1]))<<32, Ino: m.Ino, Mtime: m.Mtime, Ctime: m.Ctime}, nil
}

func (s *source) openRoot() (*tree.Root, error) {
	if s.fd != 0 {
		return tree.From(s.fd, s.path)
	}
	return tree.Open(s.path)
}

// isKnown says nil if a root is the source's, and not that of what is there when the source is not mounted. Some file systems have another number after each mount, and some none.
func (s *source) isKnown(now journal.Root) error {
	if now.Ino == s.known.Ino && (now.FS != 0 && now.FS == s.known.FS || now.Mtime.Equal(s.known.Mtime) && now.Ctime.Equal(s.known.Ctime)) {
		return nil
	}
	return fmt.Errorf("%s is not the directory that the migration began with: is it mounted?", s.path)
}

// isDead says that an error may be one of a file system that is away.
func isDead(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && slices.Contains([]unix.Errno{
		unix.ENOTCONN, unix.ESTALE, unix.EIO, unix.ETIMEDOUT, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENETUNREACH, unix.ECONNRESET, unix.ECONNABORTED,
		unix.ECONNREFUSED, unix.ENOLINK, unix.ENODEV, unix.ENXIO, unix.ESHUTDOWN, unix.EREMOTEIO,
	}, errno)
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
	go s.look() // until it is back, or close
}

// look opens the source anew until it is there.
func (s *source) look() {
	last := ""
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		select {
		case <-s.ended:
			return
		case <-time.After(pause):
		}
		r, now, err := s.open()
		if err == nil {
			err = s.isKnown(now)
		}
		if err == nil {
			s.found(&root{r, 1})
			return
		}
		if r != nil {
			_ = r.Close() // nothing was written
		}
		if err.Error() != last {
			last = err.Error()
			s.logger.Warn("the source is still away", "err", err)
		}
	}
}

// found says that the source is back.
func (s *source) found(r *root) {
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
	s.logger.Info("the source is back", "path", s.path, "away", time.Since(away))
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

// insist calls f again after each time that the source was away, for which it waits without what f holds.
func (s *source) insist(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, errCalling) {
			return err
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
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
	close(s.ended)
	s.mu.Unlock()
	if r != nil {
		s.put(r)
	}
}
