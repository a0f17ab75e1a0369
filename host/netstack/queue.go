package netstack

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// queue is one socket to the card. What does not fit into the socket waits, up to a bound; what is beyond is lost, as on any wire.
type queue struct {
	file  *os.File
	conn  syscall.RawConn
	fd    int // of file; valid until closed
	stats *counters

	mu      sync.Mutex
	closed  bool                  // guarded by mu
	buffer  [datagramBytes]byte   // guarded by mu
	partial func() bool           // the guest takes checksums that are not finished
	waiting []*stack.PacketBuffer // guarded by mu; in their order
	bytes   int                   // guarded by mu; of waiting
	wake    chan struct{}         // tells flush that something waits
	done    chan struct{}
}

// Bounds of the frames that wait for a card that does not read.
const (
	waitingBytes  = 4 << 20
	waitingFrames = 2048
)

func newQueue(file *os.File, partial func() bool, stats *counters) (*queue, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	q := &queue{file: file, conn: conn, stats: stats, partial: partial, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := conn.Control(func(fd uintptr) { q.fd = int(fd) }); err != nil {
		return nil, err
	}
	return q, nil
}

// send sends a packet or keeps it for later, with a reference of its own. It never blocks.
func (q *queue) send(p *stack.PacketBuffer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if len(q.waiting) == 0 && q.write(p) {
		return
	}
	if q.bytes+p.Size() > waitingBytes || len(q.waiting) == waitingFrames {
		q.stats.framesDropped.Add(1)
		return
	}
	q.bytes += p.Size()
	q.waiting = append(q.waiting, p.IncRef())
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// write writes a packet as one datagram and reports whether the socket took it. One that can never be sent is dropped. mu is held.
func (q *queue) write(p *stack.PacketBuffer) bool {
	b := q.buffer[:virtioBytes]
	views, skip := p.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		part := v.AsSlice()
		if skip >= len(part) {
			skip -= len(part)
			continue
		}
		if len(b)+len(part)-skip > len(q.buffer) {
			q.stats.framesDropped.Add(1)
			return true
		}
		b = append(b, part[skip:]...)
		skip = 0
	}
	finish(b[:virtioBytes], b[virtioBytes:], p.GSOOptions, q.partial())
	n, err := unix.Write(q.fd, b) // EAGAIN rather than wait
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false
	case err != nil || n != len(b):
		q.stats.framesDropped.Add(1)
	default:
		q.stats.framesSent.Add(1)
		q.stats.bytesSent.Add(uint64(n - virtioBytes))
	}
	return true
}

// flush writes what waits, whenever the socket has room, until the queue is closed.
func (q *queue) flush() {
	for {
		select {
		case <-q.wake:
		case <-q.done:
			return
		}
		// The poller calls the function again when the socket may have room, and gives up when the file is closed.
		if q.conn.Write(func(uintptr) bool { return q.drain() }) != nil {
			return
		}
	}
}

// drain writes what waits and reports whether all is written.
func (q *queue) drain() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, p := range q.waiting {
		if q.closed || !q.write(p) {
			break
		}
		q.bytes -= p.Size()
		p.DecRef()
		n++
	}
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return rest == 0 || q.closed
}

// close drops what waits and ends flush and a Read of the file.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	close(q.done)
	for _, p := range q.waiting {
		p.DecRef()
	}
	q.waiting = nil
	_ = q.file.Close() // it has no error that matters here
}
