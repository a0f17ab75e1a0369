package tcp

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// client is a simple TCP of its own, with another idea of everything: it sends again from the first byte that is missing, in other pieces,
// and puts what it receives together byte by byte.
type client struct {
	r           *rand.Rand
	port        uint16
	iss         sequence
	base        sequence // the peer's first number
	open, ended bool     // the handshake is done; our FIN was acknowledged
	peerEnded   bool
	gone        bool // reset
	out         []byte
	acked, sent int      // of out
	top         sequence // behind all that was ever sent
	finSent     bool
	in          []byte
	have        map[int]byte
	fin         int // where the peer's FIN is, -1 if that is not known
	limit       int // the peer's window ends there
	shift       byte
	window      int // ours
	mss         int
	burst       int // bytes that may be on their way
	sackable    bool
	again       time.Duration
	options     bool
	send        func([]byte)
}

func (c *client) packet(flags byte, seq sequence, payload []byte, options []byte) {
	p := packet{seq: seq, flags: flags, window: c.window, payload: payload, options: options}
	if flags&flagACK != 0 {
		p.ack = c.base + 1 + sequence(len(c.in))
		if c.peerEnded {
			p.ack++
		}
		p.window = max(0, c.window)
	}
	if end := seq + sequence(len(payload)); c.open {
		if c.top = latest(c.top, end); flags&flagFIN != 0 {
			c.top = latest(c.top, end+1)
		}
	}
	c.send(p.encode(c.port))
}

// acknowledge sends no data.
func (c *client) acknowledge(options []byte) { c.packet(flagACK, c.top, nil, options) }

func (c *client) start() {
	var o []byte
	if c.options {
		o = appendOffer(nil, offer{mss: c.mss, scaling: true, sackable: c.sackable})
	}
	c.packet(flagSYN, c.iss, nil, o)
}

// push sends what the window allows, in pieces of any size.
func (c *client) push() {
	end := min(len(c.out), c.limit, c.acked+c.burst)
	for c.open && c.sent < end {
		n := min(1+c.r.IntN(c.mss), end-c.sent)
		c.packet(flagACK, c.iss+1+sequence(c.sent), c.out[c.sent:c.sent+n], nil)
		c.sent += n
	}
	if c.open && c.sent >= len(c.out) && c.limit > len(c.out) && !c.ended && !c.finSent {
		c.finSent = true
		c.packet(flagACK|flagFIN, c.iss+1+sequence(len(c.out)), nil, nil)
	}
}

// timer sends again.
func (c *client) timer(now time.Duration) {
	if now < c.again || c.gone {
		return
	}
	c.again = now + 300*time.Millisecond
	if !c.open {
		c.start()
		return
	}
	c.sent, c.finSent = c.acked, false
	if c.limit <= c.acked && c.acked < len(c.out) { // a closed window: one byte asks
		top := c.top
		c.packet(flagACK, c.iss+1+sequence(c.acked), c.out[c.acked:c.acked+1], nil)
		c.top = top // for the peer has no room for it
	}
	c.push()
}

func (c *client) receive(t testing.TB, b []byte) {
	p, port := decode(t, b)
	if port != c.port {
		t.Fatalf("packet to port %d", port)
	}
	switch {
	case p.flags&flagRST != 0:
		c.gone = true
		return
	case p.flags&flagSYN != 0:
		if !c.open {
			c.open, c.base, c.top = true, p.seq, c.iss+1
			o := parseOffer(p.options)
			c.shift = o.scale
			c.limit = p.window
			c.push()
		} else {
			c.acknowledge(nil)
		}
		return
	case !c.open:
		return
	}

	acked := int(int32(p.ack - c.iss - 1))
	if acked > len(c.out) {
		c.ended, acked = true, len(c.out)
	}
	if acked > c.acked {
		c.acked = acked
		c.sent = max(c.sent, acked)
	}
	c.limit = max(c.limit, acked+p.window<<c.shift)
	at := int(int32(p.seq - c.base - 1))
	for i, x := range p.payload {
		if old, ok := c.have[at+i]; ok && old != x {
			t.Fatalf("byte %d was %d, is %d", at+i, old, x)
		}
		if at+i >= len(c.in) {
			c.have[at+i] = x
		}
	}
	if p.flags&flagFIN != 0 {
		c.fin = at + len(p.payload)
	}
	for {
		x, ok := c.have[len(c.in)]
		if !ok {
			break
		}
		delete(c.have, len(c.in))
		c.in = append(c.in, x)
	}
	if c.fin >= 0 && len(c.in) == c.fin {
		c.peerEnded = true
	}
	if len(p.payload) > 0 || p.flags&flagFIN != 0 {
		c.acknowledge(c.early())
	}
	c.push()
}

// early is the SACK option, if that was agreed on.
func (c *client) early() []byte {
	if !c.sackable || !c.options || len(c.have) == 0 {
		return nil
	}
	first := 0
	for at := range c.have {
		if first == 0 || at < first {
			first = at
		}
	}
	end := first
	for _, ok := c.have[end]; ok; _, ok = c.have[end] {
		end++
	}
	return appendSACK(nil, []span{{c.base + 1 + sequence(first), c.base + 1 + sequence(end)}})
}

func (c *client) done() bool { return c.ended && c.peerEnded }

// network carries packets both ways and does to them what networks do.
type network struct {
	r                      *rand.Rand
	lose, repeat, mutilate float64
	spread                 time.Duration // packets take any time up to this, so they overtake each other
	now                    time.Duration
	travelling             events
	carried, lost          int
}

type event struct {
	at     time.Duration
	order  int
	packet []byte
	toUs   bool
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (n *network) send(p []byte, toUs bool) {
	if n.r.Float64() < n.lose {
		n.lost++
		return
	}
	times := 1
	if n.r.Float64() < n.repeat {
		times++
	}
	for range times {
		n.carried++
		q := bytes.Clone(p)
		if n.r.Float64() < n.mutilate {
			q[atIP+n.r.IntN(len(q)-atIP)] ^= byte(1 << n.r.IntN(8))
		}
		heap.Push(&n.travelling, event{n.now + time.Millisecond + time.Duration(n.r.Int64N(int64(n.spread)+1)), n.carried, q, toUs})
	}
}

// valid says whether a packet that may be mutilated still checks.
func valid(b []byte) bool {
	ip := b[atIP:]
	h := b[atTCP:]
	check := append(append(append([]byte{}, ip[12:20]...), 0, protocolTCP, byte(len(h)>>8), byte(len(h))), h...)
	return slowSum(ip[:ipBytes]) == 0xffff && slowSum(check) == 0xffff && int(binary.BigEndian.Uint16(ip[2:])) == len(ip)
}

// transfer sends n bytes through a mirror and back, over a network.
func transfer(t *testing.T, seed uint64, n int, net network, change func(*client, *Config, *pool)) (*client, *Stack) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	net.r = r
	c := &client{r: r, port: 4000, iss: sequence(r.Uint32()), out: noise(r, n), have: map[int]byte{}, fin: -1, window: 60000, mss: 1460, burst: 50000, sackable: true, options: true}
	var s *Stack
	var p *pool
	cfgChange := func(cfg *Config) {
		p = cfg.Link.(*pool)
		change(c, cfg, p)
	}
	if change == nil {
		cfgChange = func(cfg *Config) { p = cfg.Link.(*pool) }
	}
	s, p = newStack(t, 1024, cfgChange)
	m := &mirror{s: s, conns: map[*Conn][]byte{}, lazy: seed%2 == 0}
	c.send = func(b []byte) { net.send(b, true) }
	c.start()
	c.again = 300 * time.Millisecond
	for !c.done() || s.Stats().Connections > 0 {
		if net.now > time.Hour {
			t.Fatalf("seed %d: not done in an hour: %d of %d bytes there, %d back; %+v", seed, c.acked, n, len(c.in), s.Stats())
		}
		if c.gone {
			t.Fatalf("seed %d: the connection was reset: %d of %d bytes there, %d back; %+v", seed, c.acked, n, len(c.in), s.Stats())
		}
		next := c.again
		if at, ok := s.Next(); ok && at < next {
			next = at
		}
		if len(net.travelling) > 0 && net.travelling[0].at <= next {
			e := heap.Pop(&net.travelling).(event)
			net.now = max(net.now, e.at)
			s.Advance(net.now)
			switch {
			case e.toUs:
				p.deliver(s, e.packet)
			case valid(e.packet):
				c.receive(t, e.packet)
			}
		} else {
			net.now = max(net.now, next)
			s.Advance(net.now)
			c.timer(net.now)
		}
		m.turn()
		for _, b := range p.sent {
			net.send(b, false)
		}
		p.sent = p.sent[:0]
	}
	if !bytes.Equal(c.in, c.out) {
		t.Fatalf("seed %d: %d bytes came back, not the %d that were sent", seed, len(c.in), len(c.out))
	}
	m.until(net.now + 10*time.Minute)
	p.checkIdle()
	if st := s.Stats(); st.Connections != 0 || st.HeldOrdered+st.HeldEarly+st.HeldSending != 0 {
		t.Errorf("seed %d: at the end: %+v", seed, st)
	}
	return c, s
}

func TestTransfersSurviveNetworks(t *testing.T) {
	for _, tt := range []struct {
		name string
		net  network
		with func(*client, *Config, *pool)
	}{
		{"a good one", network{}, nil},
		{"one that loses", network{lose: 0.05}, nil},
		{"one that loses, no SACK", network{lose: 0.05}, func(c *client, _ *Config, _ *pool) { c.sackable = false }},
		{"one that repeats", network{repeat: 0.3}, nil},
		{"one that overtakes", network{spread: 20 * time.Millisecond}, nil},
		{"one that mutilates", network{mutilate: 0.05}, nil},
		{"a bad one", network{lose: 0.15, repeat: 0.1, mutilate: 0.05, spread: 50 * time.Millisecond}, nil},
		{"a bad one, no options", network{lose: 0.1, repeat: 0.1, spread: 10 * time.Millisecond}, func(c *client, _ *Config, _ *pool) { c.options = false }},
		{"small segments", network{lose: 0.05, spread: time.Millisecond}, func(c *client, _ *Config, _ *pool) { c.mss, c.burst, c.out = 60, 2000, c.out[:10_000] }},
		{"a small window of the peer's", network{lose: 0.02, spread: time.Millisecond}, func(c *client, _ *Config, _ *pool) { c.window = 700 }},
		{"a tiny window of the peer's", network{}, func(c *client, _ *Config, _ *pool) { c.window, c.out = 40, c.out[:2000] }},
		{"small buffers of ours", network{lose: 0.02, spread: time.Millisecond}, func(_ *client, cfg *Config, _ *pool) { cfg.ReceiveBytes, cfg.SendBytes = 2000, 2000 }},
		{"a link that takes its time", network{lose: 0.05}, func(_ *client, _ *Config, p *pool) { p.lazy = 3 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(4) {
				transfer(t, seed, 50_000, tt.net, tt.with)
			}
		})
	}
}

func TestLossesCostNoTimeout(t *testing.T) {
	_, s := transfer(t, 3, 400_000, network{lose: 0.01}, nil)
	st := s.Stats()
	if st.Recoveries == 0 || st.Timeouts > st.Recoveries {
		t.Errorf("%d losses were noticed by what came after them, %d by silence", st.Recoveries, st.Timeouts)
	}
	_, s = transfer(t, 3, 400_000, network{}, nil)
	if st := s.Stats(); st.Retransmitted+st.Timeouts+st.Recoveries > 0 {
		t.Errorf("on a network that loses nothing: %+v", st)
	}
}

func TestTheChecksumIsThatOfRFC1071(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		p := noise(r, n)
		if n%3 == 0 {
			for i := range p {
				p[i] = 0xff
			}
		}
		if got, want := fold(sum(0, p)), slowSum(p); got != want {
			t.Fatalf("sum of %d bytes = %#x, want %#x", n, got, want)
		}
	}
}
