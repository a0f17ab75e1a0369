package tcp

import (
	"encoding/binary"
	"testing"
	"time"
)

// drain is a link that sends nothing and keeps nothing.
type drain struct{ *pool }

func (drain) Send(uint32, int) bool { return true }

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var link drain
	s, p := newStack(t, 256, func(c *Config) {
		link = drain{c.Link.(*pool)}
		c.Unsummed = true
	})
	p.deliver(s, packet{seq: 1, flags: flagSYN, window: 60000}.encode(9))
	base := p.take(t)[0].seq + 1
	p.deliver(s, packet{seq: 2, ack: base, flags: flagACK, window: 60000}.encode(9))
	c := s.Accept()
	s.cfg.Link = link
	request := packet{seq: 2, ack: base, flags: flagACK | flagPSH, window: 60000, payload: make([]byte, 100)}.encode(9)
	reply := []byte("+OK\r\n")
	seq, ack := sequence(2), base
	turn := func() {
		h := request[atTCP:]
		binary.BigEndian.PutUint32(h[4:], uint32(seq))
		binary.BigEndian.PutUint32(h[8:], uint32(ack))
		binary.BigEndian.PutUint16(h[16:], fold(pseudoSum(request[atIP+12:atIP+20], len(h))))
		p.deliver(s, request)
		s.Ready(func(*Conn) {})
		c.Discard(len(c.Peek()))
		c.Write(reply)
		s.Flush()
		s.Advance(s.now + time.Millisecond)
		seq, ack = seq+100, ack+sequence(len(reply))
	}
	for range 1000 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("a request and its reply allocate %v times", n)
	}
	if st := s.Stats(); st.Packets < 2000 || st.OutOfWindow+st.Challenges+st.Retransmitted > 0 {
		t.Errorf("%+v", st)
	}
}
