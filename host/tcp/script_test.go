package tcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// script drives one connection by hand.
type script struct {
	t    *testing.T
	s    *Stack
	p    *pool
	c    *Conn
	next sequence // the peer's
	base sequence // our first number
	port uint16
}

// dialogue makes a connection whose peer takes segments of 1000 bytes, scales by nothing and understands SACK.
func dialogue(t *testing.T, change func(*Config)) *script {
	t.Helper()
	d := &script{t: t, port: 5000, next: 1000}
	d.s, d.p = newStack(t, 256, change)
	d.syn(appendOffer(nil, offer{mss: 1000, scaling: true, sackable: true}))
	d.send(packet{flags: flagACK})
	if d.c = d.s.Accept(); d.c == nil {
		t.Fatal("no connection")
	}
	d.quiet("after the handshake")
	return d
}

func (d *script) syn(options []byte) {
	d.t.Helper()
	d.p.deliver(d.s, packet{seq: d.next, flags: flagSYN, window: 30000, options: options}.encode(d.port))
	d.next++
	got := d.p.take(d.t)
	if len(got) != 1 || got[0].flags != flagSYN|flagACK || got[0].ack != d.next {
		d.t.Fatalf("a SYN was answered by %+v", got)
	}
	d.base = got[0].seq + 1
}

// send sends a packet of the peer's: seq and ack are counted from the handshake, with what is in order by default.
func (d *script) send(p packet) {
	if p.seq == 0 {
		p.seq = d.next
		d.next += sequence(len(p.payload))
		if p.flags&flagFIN != 0 {
			d.next++
		}
	}
	p.ack += d.base
	if p.window == 0 {
		p.window = 30000
	}
	d.p.deliver(d.s, p.encode(d.port))
	d.s.Flush()
}

// want fails unless the stack has sent what is described: flags, seq and ack from the handshake, and the length.
func (d *script) want(what string, want ...string) {
	d.t.Helper()
	var got []string
	for _, p := range d.p.take(d.t) {
		text := ""
		for i, name := range []string{"F", "S", "R", "P", "A"} {
			if p.flags&(1<<i) != 0 {
				text += name
			}
		}
		text += fmt.Sprintf(" %d:%d ack %d", int32(p.seq-d.base), len(p.payload), int32(p.ack-1001))
		if p.flags == flagRST {
			text = fmt.Sprintf("R %d", int32(p.seq-d.base))
		}
		sacked(p.options, func(s span) { text += fmt.Sprintf(" sack %d-%d", s.start-1001, s.end-1001) })
		got = append(got, text)
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		d.t.Errorf("%s: sent %q, want %q", what, got, want)
	}
}

func (d *script) quiet(what string) {
	d.t.Helper()
	d.want(what)
}

// after lets time pass.
func (d *script) after(by time.Duration) {
	d.s.Advance(d.s.now + by)
	d.s.Flush()
}

// read takes all that has arrived.
func (d *script) read() string {
	var b bytes.Buffer
	for p := d.c.Peek(); len(p) > 0; p = d.c.Peek() {
		b.Write(p)
		d.c.Discard(len(p))
	}
	return b.String()
}

// done checks that nothing is left.
func (d *script) done() {
	d.t.Helper()
	d.s.Close()
	d.p.checkIdle()
}

func text(n int, c byte) []byte { return bytes.Repeat([]byte{c}, n) }

func TestAcknowledgementsAreDelayedAndRide(t *testing.T) {
	d := dialogue(t, nil)
	d.send(packet{flags: flagACK, payload: []byte("PING")})
	d.quiet("one segment")
	d.after(delayTime)
	d.want("the delay is over", "A 0:0 ack 4")
	d.send(packet{flags: flagACK, payload: text(1000, 'a')})
	d.send(packet{flags: flagACK, payload: text(1000, 'b')})
	d.want("every second segment", "A 0:0 ack 2004")
	d.p.deliver(d.s, packet{seq: d.next, ack: d.base, flags: flagACK, window: 30000, payload: []byte("x")}.encode(d.port))
	d.next++
	d.c.Write([]byte("reply"))
	d.c.Write([]byte(" and more"))
	d.s.Flush()
	d.want("a reply carries it, and writes of a turn are one segment", "PA 0:14 ack 2005")
	d.send(packet{flags: flagACK, ack: 14})
	d.after(time.Second)
	d.quiet("all is acknowledged")
	if got := d.read(); got != "PING"+string(text(1000, 'a'))+string(text(1000, 'b'))+"x" {
		t.Errorf("read %q", got)
	}
	d.done()
}

func TestEarlySegmentsArePutInOrder(t *testing.T) {
	d := dialogue(t, nil)
	at := d.next
	d.send(packet{seq: at + 10, flags: flagACK, payload: text(10, 'b')})
	d.want("early", "A 0:0 ack 0 sack 10-20")
	d.send(packet{seq: at + 40, flags: flagACK, payload: text(10, 'e')})
	d.want("earlier", "A 0:0 ack 0 sack 40-50 sack 10-20")
	d.send(packet{seq: at + 15, flags: flagACK, payload: text(10, 'b')}) // overlaps
	d.want("overlapping", "A 0:0 ack 0 sack 10-25 sack 40-50")
	d.send(packet{seq: at + 25, flags: flagACK, payload: text(25, 'e')}) // reaches into what is there
	d.want("filling", "A 0:0 ack 0 sack 10-50")
	d.send(packet{seq: at + 12, flags: flagACK, payload: text(3, 'b')})
	d.want("there already", "A 0:0 ack 0 sack 10-50")
	d.send(packet{seq: at, flags: flagACK, payload: append(text(10, 'a'), text(2, 'b')...)})
	d.want("the gap closes", "A 0:0 ack 50")
	if got, want := d.read(), string(text(10, 'a'))+string(text(15, 'b'))+string(text(25, 'e')); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	d.done()
}

func TestPayloadIsReadWhereItArrived(t *testing.T) {
	d := dialogue(t, nil)
	d.send(packet{flags: flagACK, payload: text(1000, 'a')})
	d.send(packet{flags: flagACK, payload: text(900, 'b')})
	d.send(packet{flags: flagACK, payload: text(10, 'c')}) // is copied behind the second
	if n := d.s.Stats(); n.HeldOrdered != 2 || n.BytesMerged != 10 {
		t.Errorf("%d frames are held, %d bytes were copied; want 2 and 10", n.HeldOrdered, n.BytesMerged)
	}
	first := d.c.Peek()
	if at := bytes.Index(d.p.memory, first); at%frameBytes != headroom+atPayload {
		t.Errorf("the first bytes lie at %d of a frame, want %d", at%frameBytes, headroom+atPayload)
	}
	held := d.c.Hold()
	d.c.Discard(1)
	d.c.Discard(1000)
	d.send(packet{flags: flagACK, payload: text(1000, 'd')}) // into another frame
	if !bytes.Equal(first, text(1000, 'a')) {
		t.Errorf("what is held is %q", first)
	}
	d.p.Release(held)
	if got := d.read(); got != string(text(899, 'b'))+string(text(10, 'c'))+string(text(1000, 'd')) {
		t.Errorf("read %q", got)
	}
	d.p.take(t)
	d.done()
}

func TestBlindAttacksAreChallenged(t *testing.T) {
	d := dialogue(t, nil)
	at := d.next
	d.send(packet{seq: at + 100, flags: flagRST})
	d.want("a reset in the window", "A 0:0 ack 0")
	d.send(packet{seq: at + 100, flags: flagRST})
	d.quiet("another one at once")
	d.after(challengeEvery)
	d.send(packet{seq: at + 5000, flags: flagSYN})
	d.want("a SYN", "A 0:0 ack 0")
	d.after(challengeEvery)
	d.send(packet{seq: at, flags: flagACK, ack: 1, payload: []byte("spoof")})
	d.want("an acknowledgement of what was not sent", "A 0:0 ack 0")
	d.send(packet{seq: at + 1<<20, flags: flagRST})
	d.send(packet{seq: at - 1, flags: flagRST})
	d.quiet("resets outside of the window")
	d.after(challengeEvery)
	d.send(packet{seq: at - 1, flags: flagACK}) // as a keep-alive is
	d.want("a question", "A 0:0 ack 0")
	if d.c.Gone() || d.c.Unread() > 0 {
		t.Fatalf("gone %v, %d bytes", d.c.Gone(), d.c.Unread())
	}
	d.send(packet{seq: at, flags: flagRST})
	if !d.c.Gone() || d.c.Err() != ErrReset || !d.c.Ended() {
		t.Errorf("after the right reset: gone %v, %v", d.c.Gone(), d.c.Err())
	}
	d.done()
}

func TestAClosedWindowIsAskedFor(t *testing.T) {
	d := dialogue(t, func(c *Config) { c.ReceiveBytes = 2000 })
	d.c.Write(text(3000, 'a'))
	d.s.Flush()
	d.want("within the window", "PA 0:1000 ack 0", "PA 1000:1000 ack 0", "PA 2000:1000 ack 0")
	zero := func(ack sequence, window uint16) {
		p := packet{seq: d.next, flags: flagACK, ack: d.base + ack, window: 30000}.encode(d.port)
		binary.BigEndian.PutUint16(p[atTCP+14:], window)
		sumTCP(p)
		d.p.deliver(d.s, p)
		d.s.Flush()
	}
	zero(3000, 0)
	d.c.Write(text(2000, 'b'))
	d.s.Flush()
	d.quiet("the window is closed")
	d.after(time.Second)
	d.want("a question", "A 2999:0 ack 0")
	for range 200 { // a peer that answers is waited for, for ever
		d.after(d.c.retransmit - d.s.now)
		d.want("another question", "A 2999:0 ack 0")
		zero(3000, 0)
		if d.c.Gone() {
			t.Fatal("the connection was given up though the peer answers")
		}
	}
	zero(3000, 100)
	d.quiet("a tiny window")
	d.after(d.c.retransmit - d.s.now)
	d.want("it has to do", "A 2999:0 ack 0", "PA 3000:100 ack 0")
	zero(3100, 5000)
	d.want("the window opens", "PA 3100:900 ack 0", "PA 4000:1000 ack 0")
	d.done()
}

func TestOurWindowClosesAndOpens(t *testing.T) {
	d := dialogue(t, func(c *Config) { c.ReceiveBytes = 4000 })
	for range 4 {
		d.send(packet{flags: flagACK, payload: text(1000, 'a')})
	}
	d.want("full", "A 0:0 ack 2000", "A 0:0 ack 4000")
	at := d.next
	d.send(packet{seq: at, flags: flagACK, payload: text(1, 'b')})
	d.want("a byte too many", "A 0:0 ack 4000")
	d.c.Discard(500)
	d.s.Flush()
	d.quiet("a little room")
	d.c.Discard(1500)
	d.s.Flush()
	d.want("room", "A 0:0 ack 4000")
	d.done()
}

func TestLostSegmentsAreSentAgain(t *testing.T) {
	d := dialogue(t, nil)
	d.c.Write(text(9000, 'a'))
	d.s.Flush()
	d.p.take(t)
	sack := func(start, end sequence) []byte {
		return appendSACK(nil, []span{{d.base + start, d.base + end}})
	}
	d.send(packet{flags: flagACK, ack: 1000, options: sack(2000, 3000)})
	d.send(packet{flags: flagACK, ack: 1000, options: sack(2000, 4000)})
	d.quiet("two repetitions")
	d.send(packet{flags: flagACK, ack: 1000, options: sack(2000, 5000)})
	d.want("the third", "PA 1000:1000 ack 0")
	d.send(packet{flags: flagACK, ack: 1000, options: sack(2000, 9000)})
	d.send(packet{flags: flagACK, ack: 9000})
	d.quiet("all has arrived")
	if st := d.s.Stats(); st.Recoveries != 1 || st.Retransmitted != 1 || st.Timeouts != 0 {
		t.Errorf("%+v", st)
	}
	d.c.Write(text(1000, 'b'))
	d.s.Flush()
	d.want("the next", "PA 9000:1000 ack 0")
	wait := d.c.retransmit - d.s.now
	d.after(wait)
	d.want("silence", "PA 9000:1000 ack 0")
	if again := d.c.retransmit - d.s.now; again != 2*wait {
		t.Errorf("it is waited for %v after %v", again, wait)
	}
	for !d.c.Gone() {
		d.after(d.c.retransmit - d.s.now)
	}
	if d.c.Err() != ErrTimeout || d.s.now < 100*time.Second {
		t.Errorf("%v after %v, want ErrTimeout after more than 100 s", d.c.Err(), d.s.now)
	}
	d.done()
}

func TestBothEndsClose(t *testing.T) {
	d := dialogue(t, nil)
	d.send(packet{flags: flagACK | flagFIN, payload: []byte("bye")})
	d.want("the peer ends", "A 0:0 ack 4")
	if d.c.Ended() || d.read() != "bye" || !d.c.Ended() {
		t.Error("the end is seen before the last bytes, or not at all")
	}
	d.c.Write([]byte("good bye"))
	d.c.Close()
	d.s.Flush()
	d.want("we end", "FPA 0:8 ack 4")
	d.send(packet{flags: flagACK, ack: 9})
	if st := d.s.Stats(); st.Connections != 0 {
		t.Errorf("%d connections", st.Connections)
	}
	d.done()

	d = dialogue(t, nil)
	d.c.Close()
	d.s.Flush()
	d.want("we end first", "FA 0:0 ack 0")
	d.send(packet{flags: flagACK, ack: 1, payload: []byte("late")})
	d.want("what comes late is acknowledged", "A 1:0 ack 4")
	d.send(packet{flags: flagACK | flagFIN, ack: 1})
	d.want("the peer ends, too", "A 1:0 ack 5")
	if st := d.s.Stats(); st.Waiting != 1 {
		t.Errorf("%d in TIME-WAIT, want 1", st.Waiting)
	}
	d.send(packet{seq: d.next - 1, flags: flagACK | flagFIN, ack: 1})
	d.want("it did not hear", "A 1:0 ack 5")
	d.next += 1000
	d.syn(nil) // the same port again
	d.after(timeWaitTime)
	if st := d.s.Stats(); st.Connections != 0 || st.HalfOpen != 1 {
		t.Errorf("%d connections, %d half open, want 0 and 1", st.Connections, st.HalfOpen)
	}
	d.done()

	d = dialogue(t, nil)
	d.c.Close()
	d.s.Flush()
	d.send(packet{flags: flagACK, ack: 1})
	d.after(lingerTime)
	d.want("the peer does not end", "FA 0:0 ack 0", "RA 1:0 ack 0")
	d.done()
}

func TestSilentPeersAreAsked(t *testing.T) {
	d := dialogue(t, nil)
	d.after(DefaultKeepAlive)
	d.want("a question", "A -1:0 ack 0")
	d.send(packet{flags: flagACK})
	for range keepAliveTry9 {
		d.after(d.c.life - d.s.now)
		d.want("another", "A -1:0 ack 0")
	}
	d.after(keepAliveTry)
	d.want("no answer", "RA 0:0 ack 0")
	if d.c.Err() != ErrTimeout {
		t.Errorf("Err() = %v", d.c.Err())
	}
	d.done()
}

func TestFloodsTakeNoMemory(t *testing.T) {
	s, p := newStack(t, 256, nil)
	offered := appendOffer(nil, offer{mss: 1400, scaling: true, scale: 7, sackable: true})
	for i := range 3 * maxHalf {
		p.deliver(s, packet{seq: 77, flags: flagSYN, window: 1000, options: offered}.encode(uint16(1+i)))
	}
	st := s.Stats()
	if st.HalfOpen != maxHalf || st.Cookies != 2*maxHalf {
		t.Fatalf("%d half open, %d cookies; want %d and %d", st.HalfOpen, st.Cookies, maxHalf, 2*maxHalf)
	}
	answers := p.take(t)
	last := answers[len(answers)-1]
	if o := parseOffer(last.options); o.scaling || o.sackable || o.mss != 1460 {
		t.Errorf("a cookie offers %+v", o)
	}
	reply := func(port uint16, ack sequence) {
		p.deliver(s, packet{seq: 78, ack: ack, flags: flagACK, window: 1000}.encode(port))
	}
	reply(uint16(3*maxHalf-1), last.seq+1) // of another peer
	reply(uint16(3*maxHalf), last.seq+2)
	if got := p.take(t); len(got) != 2 || got[0].flags != flagRST || got[1].flags != flagRST || s.Accept() != nil {
		t.Errorf("wrong cookies: %+v", got)
	}
	reply(uint16(3*maxHalf), last.seq+1)
	c := s.Accept()
	if c == nil || c.mss != 1380 || len(p.take(t)) > 0 {
		t.Fatalf("the right cookie: %+v", c)
	}
	for range 40 {
		s.Advance(s.now + time.Second)
	}
	if st := s.Stats(); st.HalfOpen != 0 || st.HalfLost != maxHalf {
		t.Errorf("after a while %d half open, %d lost", st.HalfOpen, st.HalfLost)
	}
	s.Advance(3 * cookieTick)
	reply(9999, last.seq+1)
	p.sent = nil
	s.Close()
	p.checkIdle()
}

func TestConnectionsAreBounded(t *testing.T) {
	s, p := newStack(t, 256, func(c *Config) { c.Connections = 3 })
	for i := range 5 {
		port := uint16(100 + i)
		p.deliver(s, packet{seq: 1, flags: flagSYN, window: 1000}.encode(port))
		for _, q := range p.take(t) {
			p.deliver(s, packet{seq: 2, ack: q.seq + 1, flags: flagACK, window: 1000}.encode(port))
		}
	}
	if st := s.Stats(); st.Connections != 3 || st.Refused != 2 {
		t.Errorf("%d connections, %d refused; want 3 and 2", st.Connections, st.Refused)
	}
	s.Close()
	p.checkIdle()
}

func TestHoardersStarveNobody(t *testing.T) {
	s, p := newStack(t, 256, func(c *Config) { c.Frames, c.Connections = 128, 16 })
	ports := map[uint16]sequence{}
	for port := uint16(1); port <= 16; port++ {
		p.deliver(s, packet{seq: 1, flags: flagSYN, window: 60000}.encode(port))
		q := p.take(t)[0]
		ports[port] = q.seq + 1
		p.deliver(s, packet{seq: 2, ack: q.seq + 1, flags: flagACK, window: 60000}.encode(port))
	}
	var conns []*Conn
	for c := s.Accept(); c != nil; c = s.Accept() {
		conns = append(conns, c)
	}
	for port := uint16(1); port <= 15; port++ { // sends what is early, and much, and takes nothing
		for i := range sequence(50) {
			p.deliver(s, packet{seq: 2000 + 700*i, ack: ports[port], flags: flagACK, window: 60000, payload: text(600, 'x')}.encode(port))
			p.deliver(s, packet{seq: 2 + 600*i, ack: ports[port], flags: flagACK, window: 60000, payload: text(600, 'x')}.encode(port))
		}
	}
	for _, c := range conns[:15] {
		c.Write(text(100_000, 'y'))
	}
	s.Flush()
	if st := s.Stats(); st.HeldOrdered+st.HeldEarly+st.HeldSending > 128 {
		t.Errorf("%d, %d and %d frames are held, want at most 128", st.HeldOrdered, st.HeldEarly, st.HeldSending)
	}
	p.deliver(s, packet{seq: 2, ack: ports[16], flags: flagACK, window: 60000, payload: []byte("hello")}.encode(16))
	last := conns[15]
	if string(last.Peek()) != "hello" || last.Write([]byte("world")) != 5 {
		t.Errorf("who behaves reads %q", last.Peek())
	}
	s.Close()
	p.sent = nil
	p.checkIdle()
}

func TestAddressesAreKeptAlive(t *testing.T) {
	s, p := newStack(t, 16, func(c *Config) { c.Own = true; c.Connections = 2 })
	request := make([]byte, 60)
	copy(request, []byte{255, 255, 255, 255, 255, 255})
	copy(request[6:], peerMAC[:])
	copy(request[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1})
	copy(request[22:], peerMAC[:])
	copy(request[28:], []byte{10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1})
	p.deliver(s, request)
	// Broadcast: the card hands it over; the reply goes to who asked.
	want := append(append(append([]byte{}, peerMAC[:]...), ourMAC[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 2)
	want = append(append(append(append(want, ourMAC[:]...), 10, 9, 0, 1), peerMAC[:]...), 10, 9, 0, 2)
	if len(p.sent) != 1 || !bytes.Equal(p.sent[0][:42], want) || len(p.sent[0]) != 60 {
		t.Errorf("ARP was answered by % x", p.sent)
	}
	p.sent = nil
	echo := packet{payload: []byte("how are you")}.encode(1)
	echo[atIP+9] = protocolICMP
	binary.BigEndian.PutUint16(echo[atIP+10:], 0)
	binary.BigEndian.PutUint16(echo[atIP+10:], ^slowSum(echo[atIP:atTCP]))
	copy(echo[atTCP:], []byte{8, 0, 0, 0, 1, 2, 3, 4})
	binary.BigEndian.PutUint16(echo[atTCP+2:], ^slowSum(echo[atTCP:]))
	p.deliver(s, echo)
	if len(p.sent) != 1 {
		t.Fatalf("an echo request was answered by %d packets", len(p.sent))
	}
	got := p.sent[0]
	if got[atTCP] != 0 || slowSum(got[atTCP:]) != 0xffff || slowSum(got[atIP:atTCP]) != 0xffff || !bytes.Equal(got[atTCP+4:], echo[atTCP+4:]) ||
		!bytes.Equal(got[:6], peerMAC[:]) || !bytes.Equal(got[atIP+16:atTCP], []byte{10, 9, 0, 2}) {
		t.Errorf("echo % x", got)
	}
	p.sent = nil
	echo[len(echo)-1]++
	p.deliver(s, echo)
	if len(p.sent) > 0 {
		t.Error("an echo request with a wrong checksum was answered")
	}
	p.checkIdle()
}

func TestUnfinishedChecksums(t *testing.T) {
	for _, unsummed := range []bool{false, true} {
		s, p := newStack(t, 64, func(c *Config) { c.Unsummed = unsummed })
		syn := packet{seq: 1, flags: flagSYN, window: 1000}.encode(7)
		pseudo := slowSum(append(append([]byte{}, syn[atIP+12:atIP+20]...), 0, protocolTCP, 0, tcpBytes))
		binary.BigEndian.PutUint16(syn[atTCP+16:], pseudo)
		p.deliver(s, syn)
		if got := len(p.sent); (got == 1) != unsummed {
			t.Errorf("Unsummed %v: %d answers to a sum of the pseudo header alone", unsummed, got)
		}
		s.Close()
		p.checkIdle()
	}
}
