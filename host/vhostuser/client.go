package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultTimeout is enough for a back end that has to finish a slow request of its own before it lets go of a ring.
const DefaultTimeout = 10 * time.Second

// Config says how to reach a back end.
type Config struct {
	Conn    *net.UnixConn // a stream; owned by New, which closes it when it fails
	Timeout time.Duration // for each of New, Start and Stop; 0: DefaultTimeout
}

// Client is a connection to a back end.
type Client struct {
	conn     *net.UnixConn
	timeout  time.Duration
	features uint64
	queues   int
	ack      bool // REPLY_ACK: each request is answered

	calling sync.Mutex // one call at a time
	rings   []int      // that the back end has; guarded by calling

	mu      sync.Mutex
	asked   Request // guarded by mu; 0: nobody waits for a reply
	replies chan [ReplySize]byte
	err     error         // guarded by mu; the first
	lost    chan struct{} // closed with it
	reader  sync.WaitGroup
}

// New agrees with the back end on the features of the protocol, and owns the device.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	c := &Client{conn: cfg.Conn, timeout: cfg.Timeout, replies: make(chan [ReplySize]byte, 1), lost: make(chan struct{})}
	c.reader.Go(c.read) // ended by Close
	if err := c.agree(time.Now().Add(c.timeout)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// agree is the start of the conversation.
func (c *Client) agree(deadline time.Time) (err error) {
	s := sequence{c: c, deadline: deadline}
	if c.features = s.get(GetFeatures); c.features&FeatureProtocol != 0 {
		protocol := s.get(GetProtocolFeatures) & (ProtocolMQ | ProtocolReplyAck)
		s.set(SetProtocolFeatures, words(protocol))
		c.ack = protocol&ProtocolReplyAck != 0 && s.err == nil
		if protocol&ProtocolMQ != 0 {
			c.queues = int(min(s.get(GetQueueNum), RingIndexMask+1))
		}
	}
	s.set(SetOwner, nil)
	return s.err
}

// Features are those of the device that the back end can serve.
func (c *Client) Features() uint64 { return c.features &^ FeatureProtocol }

// Queues is how many the back end serves, or 0 if it does not say.
func (c *Client) Queues() int { return c.queues }

// Session is what the back end needs to serve a device.
type Session struct {
	Features uint64 // that the driver accepted
	Memory   int    // descriptor of the file that holds the guest's memory
	Regions  []Region
	Rings    []Ring
}

// Start hands the rings to the back end. It begins to serve each of them with the first kick.
func (c *Client) Start(s Session) error {
	c.calling.Lock()
	defer c.calling.Unlock()
	if len(s.Regions) > MaxRegions {
		return c.fail(fmt.Errorf("guest memory in %d regions: a back end takes %d", len(s.Regions), MaxRegions))
	}
	q := sequence{c: c, deadline: time.Now().Add(c.timeout)}
	files := make([]int, len(s.Regions))
	for i := range files {
		files[i] = s.Memory
	}
	q.set(SetFeatures, words(s.Features|c.features&FeatureProtocol))
	q.set(SetMemTable, memTable(s.Regions), files...)
	for _, r := range s.Rings {
		c.rings = append(c.rings, r.Index) // before the back end has it: what is half done is taken back
		q.startRing(r)
	}
	return q.err
}

// startRing sends all of a ring. A back end begins with the kick's descriptor, so that comes behind the rest.
func (q *sequence) startRing(r Ring) {
	q.set(SetVringNum, ringState(r.Index, uint32(r.Size)))
	q.set(SetVringBase, ringState(r.Index, uint32(r.Base)))
	q.set(SetVringAddr, ringAddresses(r))
	if r.Call >= 0 {
		q.set(SetVringCall, words(uint64(r.Index)), r.Call)
	} else {
		q.set(SetVringCall, words(uint64(r.Index)|NoFile))
	}
	q.set(SetVringKick, words(uint64(r.Index)), r.Kick)
	if q.c.features&FeatureProtocol != 0 {
		q.set(SetVringEnable, ringState(r.Index, 1))
	}
}

// Stop takes the rings back, those of a Start that failed too. The back end finishes what it has begun.
func (c *Client) Stop() error {
	c.calling.Lock()
	defer c.calling.Unlock()
	q := sequence{c: c, deadline: time.Now().Add(c.timeout)}
	for _, i := range c.rings {
		if state := q.ask(GetVringBase, ringState(i, 0)); q.err == nil && uint32(state) != uint32(i) {
			q.err = c.fail(fmt.Errorf("the back end answers %v for ring %d with ring %d", GetVringBase, i, uint32(state)))
		}
	}
	c.rings = c.rings[:0]
	return q.err
}

// Lost is closed when the connection has ended, by the back end, by an error or by Close. [Client.Err] says why.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// Err is why the connection has ended, and nil as long as it has not. After Close it wraps [net.ErrClosed] unless there was another cause
// before.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. A good back end then lets go of all it has.
func (c *Client) Close() error {
	_ = c.fail(net.ErrClosed)
	c.reader.Wait()
	return nil
}

// fail ends the connection, the first time, and returns why it has ended.
func (c *Client) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.conn.Close()
		close(c.lost)
	}
	return c.err
}

// read takes replies until the connection ends. It reads without room for descriptors, so the kernel closes those that come.
func (c *Client) read() {
	for {
		var header [HeaderSize]byte
		var reply [ReplySize]byte
		if _, err := io.ReadFull(c.conn, header[:]); err != nil {
			_ = c.fail(ended(err))
			return
		}
		if err := checkReply(header, c.takeAsked()); err != nil {
			_ = c.fail(err)
			return
		}
		if _, err := io.ReadFull(c.conn, reply[:]); err != nil {
			_ = c.fail(ended(err))
			return
		}
		c.replies <- reply // there is room: one reply for what was asked, and that is gone
	}
}

// takeAsked returns what is waited for, once.
func (c *Client) takeAsked() Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.asked
	c.asked = 0
	return r
}

// ended says it in the words of the protocol that a connection is at its end.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return errors.New("the back end closed the connection")
	}
	return err
}

// sequence is a number of requests that have a deadline in common. After an error the rest is left out.
type sequence struct {
	c        *Client
	deadline time.Time
	err      error
}

// get asks for a number.
func (q *sequence) get(r Request) uint64 { return q.ask(r, nil) }

// ask sends a request that has a reply by its kind.
func (q *sequence) ask(r Request, payload []byte) (reply uint64) {
	if q.err == nil {
		reply, q.err = q.c.send(r, 0, payload, nil, true, q.deadline)
	}
	return reply
}

// set sends a request that is acknowledged if the back end can do that.
func (q *sequence) set(r Request, payload []byte, files ...int) {
	if q.err != nil {
		return
	}
	var flags uint32
	if q.c.ack {
		flags = FlagNeedReply
	}
	var status uint64
	if status, q.err = q.c.send(r, flags, payload, files, q.c.ack, q.deadline); q.err == nil && status != 0 {
		q.err = q.c.fail(fmt.Errorf("the back end refuses %v with status %d", r, status))
	}
}

// send sends one message and waits for the reply if there is to be one. All that goes wrong ends the connection.
func (c *Client) send(r Request, flags uint32, payload []byte, files []int, reply bool, deadline time.Time) (uint64, error) {
	if err := c.Err(); err != nil {
		return 0, err
	}
	if reply {
		c.mu.Lock()
		c.asked = r
		c.mu.Unlock()
	}
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	b := finish(append(message(r, flags), payload...))
	err := c.conn.SetWriteDeadline(deadline)
	if err == nil {
		var n int
		if n, _, err = c.conn.WriteMsgUnix(b, rights, nil); err == nil && n != len(b) {
			err = io.ErrShortWrite // a message of this size goes as a whole or not at all
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, c.fail(fmt.Errorf("the back end did not take %v within %v", r, c.timeout))
	case err != nil:
		return 0, c.fail(fmt.Errorf("send %v: %w", r, ended(err)))
	case !reply:
		return 0, nil
	}
	return c.await(r, deadline)
}

// await waits for the reply to r.
func (c *Client) await(r Request, deadline time.Time) (uint64, error) {
	patience := time.NewTimer(time.Until(deadline))
	defer patience.Stop()
	select {
	case reply := <-c.replies:
		return binary.LittleEndian.Uint64(reply[:]), nil
	case <-c.lost:
		return 0, c.Err()
	case <-patience.C:
		return 0, c.fail(fmt.Errorf("the back end did not answer %v within %v", r, c.timeout))
	}
}
