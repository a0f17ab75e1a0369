package tcp

import (
	"encoding/binary"
	"testing"
	"time"
)

// FuzzSegments has a hostile peer: it sends what it likes when it likes, on a connection that is there and on others. No frame may be lost or held
// beyond the bound, no more may be read than was sent, and what is said must be well-formed.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, 10, 0, 0, 0, 5, 0, 20, 0, 10, 3, 5, 1, 4, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 1, 200, 4, 7, 0, 0, 9, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		s, p := newStack(t, 128, func(c *Config) { c.ReceiveBytes, c.SendBytes, c.Own = 5000, 5000, true })
		p.deliver(s, packet{seq: 1000, flags: flagSYN, window: 3000, options: appendOffer(nil, offer{mss: 200, scaling: true, sackable: true})}.encode(9))
		base := p.take(t)[0].seq + 1
		p.deliver(s, packet{seq: 1001, ack: base, flags: flagACK, window: 3000}.encode(9))
		c := s.Accept()
		read := 0
		for len(steps) >= 8 {
			a, b, rest := steps[0], steps[1], steps[2:8]
			steps = steps[8:]
			switch a % 8 {
			case 0, 1, 2, 3: // a segment near what is expected
				q := packet{seq: 1001 + sequence(read) + sequence(int8(b))*sequence(1+rest[0]%40), ack: base + sequence(binary.LittleEndian.Uint16(rest)),
					flags: rest[2], window: int(rest[3]) << 4, payload: make([]byte, int(rest[4])*5)}
				if a&8 != 0 {
					q.options = []byte{1, 1, optionSACK, 10, 0, 0, 0, 0, 0, 0, 0, 0}
					binary.BigEndian.PutUint32(q.options[4:], uint32(base)+uint32(rest[5])*50)
					binary.BigEndian.PutUint32(q.options[8:], uint32(base)+uint32(rest[0])*50)
				}
				if a&16 != 0 {
					q.options = append(q.options, rest[0], rest[1], rest[2], rest[3])
				}
				p.deliver(s, q.encode(9+uint16(a>>6)))
			case 4: // bytes of a packet are changed
				q := packet{seq: 1001, ack: base, flags: flagACK, window: 3000, payload: steps[:min(len(steps), 100)]}.encode(9)
				for i := range 3 {
					q[(int(rest[i])*2+int(b))%len(q)] = rest[3+i]
				}
				if a&8 != 0 && len(q) > atPayload {
					sumTCP(q)
				}
				p.deliver(s, q[:len(q)-int(b)%len(q)])
			case 5:
				s.Advance(s.now + time.Duration(binary.LittleEndian.Uint16(rest))*time.Millisecond)
			case 6:
				c.Write(make([]byte, int(b)*10))
			case 7:
				switch {
				case b == 0:
					c.Close()
				case b == 1:
					c.Abort()
				default:
					if q := c.Peek(); len(q) > 0 {
						n := min(len(q), int(b))
						read += n
						c.Discard(n)
					}
				}
			}
			for x := s.Accept(); x != nil; x = s.Accept() {
				x.Write([]byte("hello"))
			}
			s.Ready(func(*Conn) {})
			s.Flush()
			for _, q := range p.sent {
				if binary.BigEndian.Uint16(q[12:]) == typeIPv4 && q[atIP+9] == protocolTCP {
					decode(t, q)
				}
			}
			p.sent = nil
			st := s.Stats()
			if held := int(st.HeldOrdered + st.HeldEarly + st.HeldSending); held > s.cfg.Frames || len(p.free)+held != len(p.holds) || c.Unread() > 5000 {
				t.Fatalf("%d frames are held, %d are free, of %d; %d bytes wait; %+v", held, len(p.free), len(p.holds), c.Unread(), st)
			}
			if !c.deaf && c.pipe() < 0 || c.sndNext.before(c.sndUna) || c.rcvEdge.before(c.rcvNext) {
				t.Fatalf("una %d next %d, next %d edge %d", c.sndUna, c.sndNext, c.rcvNext, c.rcvEdge)
			}
		}
		s.Close()
		p.checkIdle()
	})
}

// FuzzPackets has any bytes arrive.
func FuzzPackets(f *testing.F) {
	f.Add(packet{seq: 1, flags: flagSYN, options: appendOffer(nil, offer{mss: 1, scaling: true, scale: 15, sackable: true})}.encode(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, p := newStack(t, 16, func(c *Config) { c.Own, c.Unsummed, c.Connections = true, true, 2 })
		if len(b) > frameBytes-headroom {
			return
		}
		p.deliver(s, b)
		s.Flush()
		s.Close()
		p.checkIdle()
	})
}
