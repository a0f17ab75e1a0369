package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/eventfd"
	"usui/internal/metrics"
	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

// Defaults of a Config.
const (
	DefaultClients      = 10000
	DefaultClientMemory = 512 << 20
)

// Config is what a server is made of.
type Config struct {
	Listeners    []int // sockets that listen and do not block; closed with the server
	Open         func(engine.Options) (*engine.Store, error)
	Password     string  // that clients have to give; empty for none
	Clients      int     // at most so many connections; 0 is DefaultClients
	ClientMemory int     // bytes for their buffers; 0 is DefaultClientMemory
	Version      string  // what INFO says
	Bypass       *Bypass // may be nil
	Logger       *slog.Logger
}

// Server answers clients. Its methods but Ask belong to one goroutine.
type Server struct {
	cfg   Config
	store *engine.Store
	poll  int
	wake  *eventfd.FD

	bypass      *bypass         // nil for none
	clients     map[int]*client // by descriptor
	waiting     []*client       // have output that is not durable
	unsent      []*client       // have output that may be sent
	buffers     buffers
	held        int // bytes of clients' buffers
	input       [64 << 10]byte
	events      [256]unix.EpollEvent
	call        call
	nothing     collection.Table // what a key has that is not there; never written
	noList      collection.Series
	noRanking   collection.Ranking
	deaf        bool // the listener is out of the poll, for want of descriptors
	lastID      uint64
	now         int64 // Unix time in milliseconds at the start of this turn
	started     int64
	swept       int64  // when keys were last swept
	sweeping    uint64 // where to go on
	sealed      bool   // the loop has seen to it that the store is sealed
	stopping    bool
	stop        chan struct{}
	questions   chan question // of other goroutines
	ended       chan struct{} // closed when Run returns
	stats       Stats
	commands    map[string]*known
	watched     map[string][]*client // by key
	queues      []*transaction       // empty ones
	topics      [kinds]map[string]*audience
	pubsubLimit outputLimit
	pause       pause
	blocking    blocking
	slow        slowlog
	settings    []setting
	limits      *collection.Limits // of compact encodings
	listSize    int                // list-max-listpack-size and list-compress-depth, which lists have no use for
	listDepth   int
	runID       string            // of this start, at random
	clock       time.Time         // when the last command ended, or the first of a buffer began
	warned      time.Time         // when the log was last told of HTTP
	latency     metrics.Histogram // of commands
	errors      map[string]uint64 // replies, by their first word
	apart       bool              // transactions are no groups: for the test that shows what they are good for
	woke        []*client         // may go on: they were stalled by a pause, or were blocked
	unwanted    resp.Writer       // for replies that a client does not want
}

// New makes a server with its store.
func New(cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg, poll: -1, clients: map[int]*client{}, commands: table(), settings: settings(), limits: collection.DefaultLimits(), listSize: -2, watched: map[string][]*client{}, blocking: blocking{queues: map[string]*queue{}}, errors: map[string]uint64{}, stop: make(chan struct{}, 1), questions: make(chan question, 16), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.cfg.Clients == 0 {
		s.cfg.Clients = DefaultClients
	}
	if s.cfg.ClientMemory == 0 {
		s.cfg.ClientMemory = DefaultClientMemory
	}
	for of := range s.topics {
		s.topics[of] = map[string]*audience{}
	}
	s.pubsubLimit = outputLimit{32 << 20, 8 << 20, 60} // Redis' own, as those of the slow log
	s.slow = slowlog{threshold: 10000, most: 128}
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails
	s.runID = hex.EncodeToString(id[:])
	s.now = time.Now().UnixMilli()
	s.started = s.now
	if s.wake, err = eventfd.New(); err != nil {
		return nil, err
	}
	s.store, err = cfg.Open(engine.Options{
		Notify: func() { _ = s.wake.Signal() }, // fails only once the server is closed
		Now:    func() int64 { return s.now },
		Limits: s.limits,
	})
	if err != nil {
		return nil, err
	}
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := s.watch(unix.EPOLL_CTL_ADD, int(s.wake.Fd()), unix.EPOLLIN); err != nil {
		return nil, err
	}
	if cfg.Bypass != nil {
		if err := s.openBypass(cfg.Bypass); err != nil {
			return nil, err
		}
	}
	return s, s.hear(unix.EPOLL_CTL_ADD)
}

func (s *Server) watch(how, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.poll, how, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// Run serves until ctx ends, once. What was acknowledged is durable; clients are disconnected.
func (s *Server) Run(ctx context.Context) error {
	defer s.end()
	defer context.AfterFunc(ctx, func() {
		s.stop <- struct{}{}
		_ = s.wake.Signal() // fails only once the server is closed
	})()
	return disk.Guard("serve", func() error {
		for !s.stopping {
			if err := s.turn(); err != nil {
				return err
			}
		}
		return s.store.Drain()
	})
}

// end tells other goroutines that nothing will be answered any more.
func (s *Server) end() {
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
}

// turn waits for something to do and does it.
func (s *Server) turn() error {
	n, err := unix.EpollWait(s.poll, s.events[:], int(s.patience()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	s.stats.Calls++
	s.now = time.Now().UnixMilli()
	for _, e := range s.events[:max(n, 0)] {
		switch fd := int(e.Fd); fd {
		case int(s.wake.Fd()):
			if err := s.woken(fd); err != nil {
				return err
			}
		default:
			if c := s.clients[fd]; c != nil { // it may have been closed in this turn
				s.serve(c, e.Events)
			} else if s.bypass != nil && s.bypass.polled[fd] {
				continue // it is looked at in every turn
			} else if slices.Contains(s.cfg.Listeners, fd) {
				if err := s.accept(fd); err != nil {
					return err
				}
			}
		}
	}
	if s.bypass != nil {
		if err := s.bypass.receive(s); err != nil {
			return err
		}
	}
	s.timeOut()
	s.resume()
	s.sweep()
	s.store.Collect()
	s.store.Commit()
	s.release()
	s.send()
	if s.bypass != nil {
		return s.bypass.send()
	}
	return nil
}

// How often keys are swept, in milliseconds; how many buckets of the index at a time, and how many times at most: one more while a tenth or
// more of what can expire has. A sweep of buckets without an expiry reads 256 KiB in order, and no records.
const (
	sweepEvery   = 100
	sweepBuckets = 4096
	sweepRounds  = 16
)

// patience is how long the loop may sleep, in milliseconds; -1 is for ever.
func (s *Server) patience() int64 {
	own := s.ownPatience()
	if s.bypass == nil {
		return own
	}
	switch other := s.bypass.patience(); {
	case own < 0:
		return other
	case other < 0:
		return own
	default:
		return min(own, other)
	}
}

// ownPatience is patience without what comes past the kernel.
func (s *Server) ownPatience() int64 {
	left := int64(-1)
	within := func(ms int64) {
		if ms = max(0, ms); left < 0 || ms < left {
			left = ms
		}
	}
	if len(s.woke) > 0 {
		within(0)
	}
	if s.pause.until > 0 {
		within(min(s.pause.until-s.now, sweepEvery))
	}
	if len(s.blocking.waits) > 0 {
		within(min(s.blocking.waits[0].until-s.now, math.MaxInt32))
	}
	if s.store.Expiring() > 0 {
		within(s.swept + sweepEvery - s.now)
	}
	if s.deaf {
		within(sweepEvery)
	}
	return left
}

// sweep removes some expired keys, and listens again if it could not.
func (s *Server) sweep() {
	if s.now < s.swept+sweepEvery {
		return
	}
	s.swept = s.now
	for rounds := sweepRounds; rounds > 0 && s.store.Expiring() > 0; rounds-- {
		var gone, of int
		s.sweeping, gone, of = s.store.Sweep(s.sweeping, sweepBuckets)
		if gone*10 <= of {
			break
		}
	}
	if s.deaf && s.hear(unix.EPOLL_CTL_ADD) == nil {
		s.deaf = false
	}
}

// woken takes the news of other goroutines.
func (s *Server) woken(fd int) error {
	var count [8]byte
	if _, err := unix.Read(fd, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("read", err)
	}
	select {
	case <-s.stop:
		s.stopping = true
	default:
	}
	s.answer()
	return nil
}

// release lets replies go whose writes are durable by now.
func (s *Server) release() {
	if s.store.Sealed() != nil && !s.sealed {
		s.sealed = true
		s.cfg.Logger.Error("writes are refused from now on", "err", s.store.Sealed())
	}
	durable := s.store.Durable()
	left := s.waiting[:0]
	for _, c := range s.waiting {
		switch {
		case c.fd < 0:
		case c.release(durable):
			c.waits = false
			s.queue(c)
		case s.sealed:
			s.drop(c) // its reply will never be true
		default:
			s.queue(c)
			left = append(left, c)
		}
	}
	clear(s.waiting[len(left):])
	s.waiting = left
}

// Close gives everything back. What could not be made durable is its error.
func (s *Server) Close() error {
	s.end()
	var err error
	for _, c := range s.clients {
		s.drop(c)
	}
	if s.bypass != nil {
		err = s.bypass.send() // their ends
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	if s.wake != nil {
		err = errors.Join(err, s.wake.Close())
	}
	if s.poll >= 0 {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(s.poll)))
	}
	for _, fd := range s.cfg.Listeners {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
	}
	return err
}

// hear has the poll look at the listeners, or no longer.
func (s *Server) hear(how int) error {
	for _, fd := range s.cfg.Listeners {
		if err := s.watch(how, fd, unix.EPOLLIN); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// accept takes all clients that wait at a listener.
func (s *Server) accept(listener int) error {
	for {
		fd, peer, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			if s.deaf {
				return nil
			}
			s.deaf = true // else the loop would spin until a descriptor is free
			return s.hear(unix.EPOLL_CTL_DEL)
		case err != nil:
			continue // this client is gone again
		}
		s.welcome(fd, peer)
	}
}

// welcome admits a client that was accepted.
func (s *Server) welcome(fd int, peer unix.Sockaddr) {
	from := Origin{Peer: address(peer)}
	if _, from.unix = peer.(*unix.SockaddrUnix); from.unix {
		if here, err := unix.Getsockname(fd); err == nil { // the peer has no name
			from.Peer = address(here)
		}
	} else {
		for _, o := range [...][3]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300}} {
			if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
				_ = unix.Close(fd) // it is gone again
				return
			}
		}
	}
	_ = s.admit(socket(fd), fd, from) // it was told, and counted
}

// Attach makes a client of a descriptor, which becomes the server's even if it is refused. Any goroutine may call it.
func (s *Server) Attach(ctx context.Context, fd int, from Origin) error {
	var err error
	if asked := s.Ask(ctx, func() { err = s.admit(socket(fd), fd, from) }); asked != nil {
		_ = unix.Close(fd) // nothing was sent that could be lost
		return asked
	}
	return err
}

// ErrRefused is the error of [Server.Attach] for a client that was sent away.
var ErrRefused = errors.New("max number of clients reached")

// Origin is where a client comes from.
type Origin struct {
	Peer, Here string // addresses
	Gone       func() // called by the loop when the client is disconnected; may be nil

	unix bool
}

// admit makes a client of a wire, or closes it. fd is its descriptor, or a number in the place of one.
func (s *Server) admit(w wire, fd int, from Origin) (err error) {
	defer func() {
		if err != nil {
			s.stats.Rejected++
			w.close() // nothing was sent that could be lost
		}
	}()
	if len(s.clients) >= s.cfg.Clients {
		_, _ = w.write(s, []byte("-ERR max number of clients reached\r\n")) // as far as it goes: the client is sent away
		return ErrRefused
	}
	if _, polled := w.(socket); polled {
		if err := s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	s.lastID++
	c := &client{fd: fd, wire: w, id: s.lastID, peer: from.Peer, here: from.Here, unix: from.unix, gone: from.Gone, since: s.now, last: s.now, events: unix.EPOLLIN, trusted: s.cfg.Password == ""}
	c.parser.MaxBulk, c.parser.MaxCommand = s.maxBulk(), 2*s.maxBulk()+(1<<20)
	if _, polled := w.(socket); !polled {
		c.left = &left{}
	}
	c.parser.Stranger = !c.trusted
	c.out.Max = outputBytes
	s.clients[fd] = c
	s.stats.Accepted++
	return nil
}

func (s *Server) maxBulk() int { return s.store.MaxValue() }

func address(a unix.Sockaddr) string {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return fmt.Sprintf("%d.%d.%d.%d:%d", a.Addr[0], a.Addr[1], a.Addr[2], a.Addr[3], a.Port)
	case *unix.SockaddrInet6:
		return fmt.Sprintf("[%x]:%d", a.Addr, a.Port)
	}
	if u, ok := a.(*unix.SockaddrUnix); ok {
		return u.Name + ":0" // as Redis writes it
	}
	return ""
}
