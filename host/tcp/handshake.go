package tcp

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Bounds of handshakes. Beyond the table a SYN is answered with a cookie, and takes no memory.
const (
	maxHalf        = 1024
	sweepHalfEvery = 250 * time.Millisecond
	synRetry       = time.Second // doubled each time (RFC 6298)
	synTries       = 5
)

// halfOpen is a peer whose SYN was answered (SYN-RECEIVED).
type halfOpen struct {
	offer
	mac      [6]byte
	irs, iss sequence
	again    time.Duration // when the answer is sent again
	tries    int
}

// segment finds who a segment is for (RFC 9293 section 3.10.7).
func (s *Stack) segment(g *segment) {
	if c := s.conns[g.from]; c != nil {
		if c.state == timeWait && g.has(flagSYN) && !g.has(flagACK|flagRST) && c.rcvNext.before(g.seq) {
			c.end(nil) // the peer uses its port again (RFC 1122 section 4.2.2.13)
		} else {
			c.input(g)
			return
		}
	}
	if h := s.half[g.from]; h != nil {
		s.halfInput(h, g)
		return
	}
	switch {
	case g.has(flagRST):
	case g.has(flagACK) && !g.has(flagSYN) && s.cookies && s.now-s.flooded < 2*cookieTick:
		if o, ok := s.redeem(g); ok {
			s.stats.Redeemed++
			s.establish(g, o, g.seq-1, g.ack-1)
			return
		}
		s.refuse(g)
	case g.has(flagACK), !g.has(flagSYN):
		s.refuse(g)
	case g.has(flagFIN):
		s.stats.Malformed++
	default:
		s.listen(g)
	}
}

// ours is what we offer to who offered o.
func (s *Stack) ours(o offer) offer {
	return offer{mss: s.cfg.MTU - ipBytes - tcpBytes, scale: s.scale(), scaling: o.scaling, sackable: o.sackable}
}

// scale is by how many bits windows are shifted so that 16 suffice.
func (s *Stack) scale() byte {
	n := byte(0)
	for s.cfg.ReceiveBytes>>n > 0xffff {
		n++
	}
	return n
}

// listen answers a SYN.
func (s *Stack) listen(g *segment) {
	o := parseOffer(g.options)
	if s.crowded() {
		s.stats.Refused++ // silence: the peer tries again, and may find room then
		return
	}
	if len(s.half) >= maxHalf {
		s.stats.Cookies++
		s.flooded, s.cookies = s.now, true
		mss := cookieMSS(o.mss)
		s.answer(g.from, g.mac, s.cookie(g.from, g.seq, mss, s.tick()), g.seq, offer{mss: s.ours(o).mss})
		return
	}
	h := &halfOpen{offer: o, mac: g.mac, irs: g.seq, iss: s.initial(g.from), again: s.now + synRetry}
	if len(s.half) == 0 {
		s.swept = s.now
	}
	s.half[g.from] = h
	s.answer(g.from, h.mac, h.iss, h.irs, s.ours(h.offer))
}

// answer sends SYN and ACK.
func (s *Stack) answer(to key, mac [6]byte, iss, irs sequence, o offer) {
	var room [maxOptions]byte
	s.send(&header{to: to, mac: mac, seq: iss, ack: irs + 1, flags: flagSYN | flagACK, window: uint16(min(s.cfg.ReceiveBytes, 0xffff)), options: appendOffer(room[:0], o)})
}

// halfInput takes a segment of a handshake.
func (s *Stack) halfInput(h *halfOpen, g *segment) {
	switch {
	case g.has(flagRST):
		if g.seq == h.irs+1 {
			delete(s.half, g.from)
		}
	case g.has(flagSYN):
		if g.seq == h.irs && !g.has(flagACK) {
			s.answer(g.from, h.mac, h.iss, h.irs, s.ours(h.offer))
		} else {
			s.challengeHalf(h, g)
		}
	case !g.has(flagACK):
	case g.ack != h.iss+1:
		s.refuse(g)
	case g.seq.before(h.irs + 1), (h.irs + 1 + sequence(s.cfg.ReceiveBytes)).before(g.seq):
		s.challengeHalf(h, g)
	default:
		delete(s.half, g.from)
		if s.crowded() {
			s.stats.Refused++
			s.refuse(g)
			return
		}
		s.establish(g, h.offer, h.irs, h.iss)
	}
}

// crowded says that there are as many connections as there may be. Those that only wait for their end do not count.
func (s *Stack) crowded() bool { return len(s.conns)-s.waiting >= s.cfg.Connections }

// challengeHalf tells a peer what we know of the connection: if that is wrong, it answers with a reset (RFC 5961).
func (s *Stack) challengeHalf(h *halfOpen, g *segment) {
	s.stats.Challenges++
	s.send(&header{to: g.from, mac: h.mac, seq: h.iss + 1, ack: h.irs + 1, flags: flagACK, window: uint16(min(s.cfg.ReceiveBytes, 0xffff))})
}

// sweepHalf answers again who did not hear, and forgets who does not answer.
func (s *Stack) sweepHalf() {
	if len(s.half) == 0 || s.now < s.swept+sweepHalfEvery {
		return
	}
	s.swept = s.now
	for k, h := range s.half {
		if s.now < h.again {
			continue
		}
		if h.tries++; h.tries >= synTries {
			delete(s.half, k)
			s.stats.HalfLost++
			continue
		}
		h.again = s.now + synRetry<<h.tries
		s.answer(k, h.mac, h.iss, h.irs, s.ours(h.offer))
	}
}

// initial is the number that a connection starts with: it grows with the time, and cannot be guessed (RFC 6528).
func (s *Stack) initial(k key) sequence {
	return sequence(s.now/(4*time.Microsecond)) + sequence(s.digest('i', k, 0, 0))
}

// digest is a keyed hash of a peer and two numbers.
func (s *Stack) digest(what byte, k key, a, b uint32) uint32 {
	var p [49]byte // with padding one block of the hash
	copy(p[:], s.secret[:])
	p[32] = what
	binary.BigEndian.PutUint64(p[33:], uint64(k))
	binary.BigEndian.PutUint32(p[41:], a)
	binary.BigEndian.PutUint32(p[45:], b)
	h := sha256.Sum256(p[:])
	return binary.BigEndian.Uint32(h[:])
}

// A cookie is an initial sequence number that has all that is to be remembered of a SYN (Bernstein 1996; RFC 4987 section 3.6): five bits of
// the time, three of the segments' size, and a hash of these, of the peer and of its sequence number. Window scaling and SACK are lost.
const cookieTick = 64 * time.Second

// cookieSizes are what a cookie can say of the size of segments.
var cookieSizes = [8]int{64, 256, 536, 966, 1220, 1380, 1440, 1460}

func (s *Stack) tick() uint32 { return uint32(s.now / cookieTick) }

// cookieMSS is the index of the largest size that a peer takes.
func cookieMSS(mss int) uint32 {
	i := len(cookieSizes) - 1
	for i > 0 && cookieSizes[i] > mss {
		i--
	}
	return uint32(i)
}

func (s *Stack) cookie(k key, irs sequence, mss, tick uint32) sequence {
	return sequence(tick&31<<27 | mss<<24 | s.digest('c', k, uint32(irs), tick<<3|mss)>>8)
}

// redeem checks the cookie that an ACK brings back.
func (s *Stack) redeem(g *segment) (offer, bool) {
	got := g.ack - 1
	mss := uint32(got >> 24 & 7)
	for age := range uint32(2) {
		if tick := s.tick() - age; s.cookie(g.from, g.seq-1, mss, tick) == got && !s.crowded() {
			return offer{mss: cookieSizes[mss]}, true
		}
	}
	return offer{}, false
}
