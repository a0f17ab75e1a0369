package blk

import (
	"bytes"
	"fmt"
	"sync"

	"usui/machine/block"
)

// memory is a backend whose requests complete when the test says so, or at once.
type memory struct {
	geometry block.Geometry
	bytes    []byte

	mu       sync.Mutex
	changed  sync.Cond
	hold     bool // guarded by mu; requests wait for release
	refuse   bool // guarded by mu; Submit fails
	fail     error
	held     []func() // guarded by mu
	inFlight int
	most     int
	log      []string
}

func newMemory(size int) *memory {
	m := &memory{bytes: make([]byte, size)}
	m.geometry = block.Geometry{Size: int64(size), BlockSize: 512, Discard: true, Zero: true, Depth: 256}
	m.changed.L = &m.mu
	return m
}

func (m *memory) Geometry() block.Geometry { return m.geometry }
func (m *memory) Close() error             { return nil }

func (m *memory) Submit(reqs []block.Request, done block.Completion) error {
	m.mu.Lock()
	if m.refuse {
		m.mu.Unlock()
		return block.ErrClosed
	}
	var now []func()
	for _, r := range reqs {
		m.inFlight++
		m.most = max(m.most, m.inFlight)
		m.log = append(m.log, fmt.Sprintf("%v %d+%d", r.Op, r.Offset, r.Bytes()))
		f := func() {
			err := m.run(&r)
			m.mu.Lock()
			m.inFlight--
			m.mu.Unlock()
			done(r.Tag, err)
		}
		if m.hold {
			m.held = append(m.held, f)
		} else {
			now = append(now, f)
		}
	}
	m.changed.Broadcast()
	m.mu.Unlock()
	for _, f := range now {
		f()
	}
	return nil
}

func (m *memory) run(r *block.Request) error {
	if err := m.geometry.Check(r); err != nil {
		return err
	}
	if m.fail != nil {
		return m.fail
	}
	m.mu.Lock() // the race detector does not see what orders these bytes: the used index in guest memory
	defer m.mu.Unlock()
	p := m.bytes[r.Offset:]
	for _, b := range r.Buffers {
		if r.Op == block.Read {
			copy(b, p)
		} else {
			copy(p, b)
		}
		p = p[len(b):]
	}
	if r.Op == block.Zero {
		clear(p[:r.Length])
	}
	return nil
}

// look gives f a consistent view.
func (m *memory) look(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// part is a copy of n bytes of the disk.
func (m *memory) part(off, n int) (b []byte) {
	m.look(func() { b = bytes.Clone(m.bytes[off : off+n]) })
	return b
}

// await waits until n requests are held.
func (m *memory) await(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.held) < n {
		m.changed.Wait()
	}
}

// release completes what is held, the last first, and lets later requests through.
func (m *memory) release() {
	m.mu.Lock()
	held := m.held
	m.held, m.hold = nil, false
	m.mu.Unlock()
	for i := len(held) - 1; i >= 0; i-- {
		held[i]()
	}
}
