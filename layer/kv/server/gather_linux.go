package server

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Clients that wait for replies before they go on fall into two groups: while the batch of one is synced, the other's grows, and each sync is
// for half of them. So a batch that could go waits for the clients that the one before it answered, for as long as that one's sync took: if
// they come, one sync is for all. If they do not, that is not tried again for some batches.
const (
	gatherMost = time.Millisecond // a sync that takes longer gains no more by it
	gatherSkip = 16               // batches
)

// gathering is whom the growing batch waits for.
type gathering struct {
	batch    uint64 // number of the batch that was answered last
	answered int    // clients that it answered
	away     int    // of them, those that have not come again
	until    time.Time
	waits    bool
	skip     int // batches that do not wait
}

// answer takes note that a batch answers a client; first says that it is the first one.
func (g *gathering) answer(c *client, first bool, took time.Duration) {
	if first {
		g.batch++
		g.answered, g.away, g.until = 0, 0, time.Now().Add(min(took, gatherMost))
	}
	g.answered++
	g.away++
	c.batch = g.batch
}

// back takes note that a client has come again, or never will.
func (g *gathering) back(c *client) {
	if c.batch == g.batch && g.away > 0 {
		g.away--
	}
	c.batch = 0
}

// wait says whether the growing batch is to wait for more. ready says that it could go.
func (g *gathering) wait(ready bool) bool {
	was := g.waits
	g.waits = ready && g.away > 0 && g.skip == 0 && time.Now().Before(g.until)
	switch {
	case g.waits, !ready:
	case was && g.away > g.answered/2:
		g.skip = gatherSkip
	case g.skip > 0:
		g.skip--
	}
	return g.waits
}

// commit has the batch made durable, unless it waits for more clients. If none has anything to do before it is, the loop does that itself.
func (s *Server) commit() {
	if s.gathering.wait(!s.store.Busy() && !s.store.Idle()) {
		return
	}
	before := s.store.Durable()
	s.store.Commit(len(s.waiting) == len(s.clients))
	if s.store.Durable() != before || s.store.Sealed() != nil {
		s.release()
	}
}

// pollEvents waits for something to do.
func (s *Server) pollEvents() (int, error) {
	timeout := int(s.patience())
	if s.gathering.waits { // for less than the millisecond that epoll_wait(2) counts in
		left := unix.NsecToTimespec(max(0, int64(time.Until(s.gathering.until))))
		s.ready[0] = unix.PollFd{Fd: int32(s.poll), Events: unix.POLLIN}
		if _, err := unix.Ppoll(s.ready[:], &left, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, os.NewSyscallError("ppoll", err)
		}
		timeout = 0
	}
	n, err := unix.EpollWait(s.poll, s.events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return 0, os.NewSyscallError("epoll_wait", err)
	}
	return max(n, 0), nil
}
