package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
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
	Password     string                  // that clients have to give; empty for none
	Clients      int                     // at most so many connections; 0 is DefaultClients
	ClientMemory int                     // bytes for their buffers; 0 is DefaultClientMemory
	Loops        int                     // that share the clients and the keys; 0 is one
	Version      string                  // what INFO says
	Bypass       func() (*Bypass, error) // makes it once the store is open; nil for none
	Logger       *slog.Logger
}

// Server answers clients. Each of its loops has a lock, and with it what is the loop's, its clients among that. What loops share, but for what may be used at any time, changes
// in the hands of who has the locks of all ([loop.alone], [Server.Ask]), and is only looked at by who has one.
type Server struct {
	door   sync.Mutex    // held with all of the following
	wanted atomic.Int32  // by how many that is, or is waited for
	locks  []*sync.Mutex // of each loop; or one that all have, so that who has it has all
	owner  *loop         // for whom somebody has all of them; nil if nobody has, and loops work side by side

	cfg         Config
	store       *engine.Store    // for who has all
	loops       []*loop          // the first accepts clients, and keeps the time
	bypass      *bypass          // nil for none
	clients     map[int]*client  // by descriptor
	nothing     collection.Table // what a key has that is not there; never written
	noList      collection.Series
	noRanking   collection.Ranking
	deaf        bool // the listener is out of the poll, for want of descriptors
	lastID      uint64
	started     int64
	swept       int64 // when keys were last swept
	ended       bool  // Run has returned
	commands    map[string]*known
	watched     map[string][]*client // by key
	topics      [kinds]map[string]*audience
	pubsubLimit outputLimit
	pause       pause
	blocking    blocking
	settings    []setting
	limits      *collection.Limits // of compact encodings
	listSize    int                // list-max-listpack-size and list-compress-depth, which lists have no use for
	listDepth   int
	runID       string // of this start, at random
	apart       bool   // transactions are no groups: for the test that shows what they are good for

	_ [64]byte // what follows is written often: no cache line has something of it and of what is only read

	// May be used at any time.
	ticking  sync.Mutex   // guards that now is set in the order in which it was read
	now      atomic.Int64 // Unix time in milliseconds at the start of the last turn of any loop
	sleeps   atomic.Int64 // until when the first loop may wait
	held     atomic.Int64 // bytes of clients' buffers
	stopping atomic.Bool
	told     sync.Once // the log was told that writes are refused
	slow     slowlog
}

// New makes a server with its store.
func New(cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg, clients: map[int]*client{}, commands: table(), settings: settings(), limits: collection.DefaultLimits(), listSize: -2, watched: map[string][]*client{}, blocking: blocking{queues: map[string]*queue{}}}
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
	s.slow.threshold, s.slow.most = 10000, 128
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails
	s.runID = hex.EncodeToString(id[:])
	for i, c := range s.all() {
		c.number = i + 1
	}
	s.started = time.Now().UnixMilli()
	s.now.Store(s.started)
	if err := s.makeLoops(max(1, cfg.Loops)); err != nil {
		return nil, err
	}
	s.store, err = cfg.Open(engine.Options{
		Notify: s.notify,
		Now:    s.now.Load,
		Limits: s.limits,
		Shards: len(s.locks),
	})
	if err != nil {
		return nil, err
	}
	for _, l := range s.loops {
		l.store = s.store.Share(func() int64 { return l.now })
	}
	if cfg.Bypass != nil {
		b, err := cfg.Bypass()
		if err != nil {
			return nil, err
		}
		if err := s.openBypass(b); err != nil {
			return nil, err
		}
	}
	return s, s.hear(unix.EPOLL_CTL_ADD)
}

// makeLoops makes n loops. Those who share a card have one lock: what it and its TCP have is no loop's.
func (s *Server) makeLoops(n int) error {
	for range n {
		l, err := newLoop(s)
		if err != nil {
			return err
		}
		l.buffers.most = max(1, keptBuffers/n)
		s.loops = append(s.loops, l)
		if s.cfg.Bypass != nil {
			l.mu = s.loops[0].mu
		}
		if !slices.Contains(s.locks, l.mu) {
			s.locks = append(s.locks, l.mu)
		}
	}
	if len(s.locks) == 1 {
		s.owner = s.loops[0]
	}
	return nil
}

// lockAll takes the locks of all loops, in their order, for one of them.
func (s *Server) lockAll(l *loop) {
	s.wanted.Add(1)
	s.door.Lock()
	for _, mu := range s.locks {
		mu.Lock()
	}
	s.owner = l
}

// unlockAll gives them back, but for one that may be nil.
func (s *Server) unlockAll(but *sync.Mutex) {
	if len(s.locks) > 1 {
		s.owner = nil
	}
	for _, mu := range s.locks {
		if mu != but {
			mu.Unlock()
		}
	}
	s.door.Unlock()
	s.wanted.Add(-1)
}

// Run serves until ctx ends, once. What was acknowledged is durable; clients are disconnected.
func (s *Server) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.stopAll)()
	errs := make(chan error)
	for _, l := range s.loops {
		go func() { errs <- l.run() }()
	}
	var err error
	for range s.loops {
		err = errors.Join(err, <-errs)
	}
	s.lockAll(s.loops[0])
	defer s.unlockAll(nil)
	s.ended = true
	if err != nil {
		return err
	}
	return disk.Guard("serve", s.store.Drain)
}

// stopAll has every loop end. Any goroutine may call it.
func (s *Server) stopAll() {
	s.stopping.Store(true)
	for _, l := range s.loops {
		l.signal()
	}
}

// notify has loops take what the store's goroutines have finished: the first one, and those whose clients wait for it, should that one be busy.
func (s *Server) notify() {
	s.loops[0].tell()
	s.tellHolders()
}

// tellHolders has loops look at what is durable by now.
func (s *Server) tellHolders() {
	for _, l := range s.loops {
		if l.holds.Load() {
			l.tell()
		}
	}
}

// tick takes the time.
func (s *Server) tick() {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	s.now.Store(time.Now().UnixMilli())
}

// advance does what is due, whoever was served: it is the end of each turn. idle says that nobody was.
func (l *loop) advance(idle bool) {
	s := l.s
	if s.due() {
		l.alone(func() {
			s.timeOut()
			if s.pause.until > 0 && s.now.Load() >= s.pause.until {
				s.unpause()
			}
			s.listen()
		})
		l.sweep()
	}
	l.resume()
	if s.store.Untended() {
		l.alone(s.store.Tend)
	}
	s.store.Advance(!idle)
	l.release()
}

// due says that there is something that all of the server is needed for. It is looked at in each turn.
func (s *Server) due() bool {
	now := s.now.Load()
	return len(s.blocking.waits) > 0 && s.blocking.waits[0].until <= now || s.pause.until > 0 && s.pause.until <= now ||
		now >= s.swept+sweepEvery && (s.deaf || s.store.Expiring() > 0)
}

// How often keys are swept, in milliseconds; how many buckets of the index at a time, and how many times at most: one more while a tenth or
// more of what can expire has. Once is for each shard that has keys with an expiry. Others are served in between. A sweep of buckets without an expiry reads 256 KiB in order, and no records.
const (
	sweepEvery   = 100
	sweepBuckets = 4096
	sweepRounds  = 16
)

// patience is how long nothing is due, in milliseconds; -1 is for ever.
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
	now := s.now.Load()
	if s.pause.until > 0 {
		within(min(s.pause.until-now, sweepEvery))
	}
	if len(s.blocking.waits) > 0 {
		within(min(s.blocking.waits[0].until-now, math.MaxInt32))
	}
	if s.store.Expiring() > 0 {
		within(s.swept + sweepEvery - now)
	}
	if s.deaf {
		within(sweepEvery)
	}
	return left
}

// sweep removes some expired keys, if it is time.
func (l *loop) sweep() {
	s := l.s
	var shards []int
	l.alone(func() {
		if s.now.Load() >= s.swept+sweepEvery {
			s.swept, shards = s.now.Load(), s.store.Sweeps()
		}
	})
	again := sweepRounds - 1
	for _, shard := range shards {
		for more := true; more; {
			l.alone(func() {
				gone, of := s.store.SweepShard(shard, sweepBuckets)
				more = gone*10 > of && again > 0
			})
			if more {
				again--
			}
		}
	}
}

// listen listens again if it could not.
func (s *Server) listen() {
	if s.deaf && s.now.Load() >= s.swept+sweepEvery && s.hear(unix.EPOLL_CTL_ADD) == nil {
		s.deaf = false
	}
}

// release lets replies go whose writes are durable by now, and has other loops do so.
func (l *loop) release() {
	s, sealed := l.s, l.s.store.Sealed()
	if sealed != nil {
		s.told.Do(func() { s.cfg.Logger.Error("writes are refused from now on", "err", sealed) })
	}
	durable := s.store.Durable()
	if durable == l.released && sealed == nil {
		return
	}
	l.released = durable
	s.tellHolders()
	l.waiting, l.waited = l.waited[:0], l.waiting
	for _, c := range l.waited {
		switch {
		case c.fd < 0:
		case c.release(durable):
			c.waits = false
			s.queue(c)
		case sealed != nil:
			s.drop(c) // its reply will never be true
		default:
			s.queue(c)
			l.waiting = append(l.waiting, c)
		}
	}
	clear(l.waited)
}

// Close gives everything back, once Run has returned. What could not be made durable is its error.
func (s *Server) Close() error {
	var first *loop
	if len(s.loops) > 0 {
		first = s.loops[0]
	}
	s.lockAll(first)
	defer s.unlockAll(nil)
	s.ended = true
	var err error
	for _, c := range s.clients {
		s.end(c)
	}
	if s.bypass != nil {
		err = s.bypass.send() // their ends
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	for _, l := range s.loops {
		err = errors.Join(err, l.close())
	}
	for _, fd := range s.cfg.Listeners {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
	}
	return err
}

func (s *Server) maxBulk() int { return s.store.MaxValue() }
