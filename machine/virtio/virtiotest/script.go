package virtiotest

// Script lets bytes choose what a hostile driver does, for fuzz tests: chains of any shape with any content, descriptors
// and indices that make no sense, kicks. It does not wait for the device.
func Script(d *Driver, script []byte) {
	s := &bytesOf{script}
	for range 200 {
		if len(s.rest) == 0 {
			return
		}
		q := d.Queues[s.next()%len(d.Queues)]
		if q == nil {
			continue
		}
		q.hostile = true
		for taken := true; taken; {
			_, _, taken = q.Take()
		}
		switch op := s.next(); {
		case op < 160:
			d.randomChain(q, s)
		case op < 200:
			gpa := uint64(s.next())<<40 | uint64(s.next())<<20 | uint64(s.next())
			q.SetDescriptor(uint16(s.next())%q.size, gpa, uint32(s.next())<<uint(s.next()%32), uint16(s.next()%8), uint16(s.next()))
		case op < 220:
			q.SetAvailableIndex(q.availIdx + uint16(s.next()%4))
		case op < 225:
			q.SetAvailableIndex(q.availIdx + uint16(s.next())<<8)
		default:
			q.Kick()
		}
	}
}

// randomChain makes a chain that is well-formed as a chain; what stands in it is the script's.
func (d *Driver) randomChain(q *Queue, s *bytesOf) {
	outs, ins := s.next()%4, s.next()%4
	if outs+ins == 0 || outs+ins > q.Free() {
		return
	}
	var bufs []Buffer
	for range outs {
		b := make([]byte, 1+s.next()%40)
		for i := range b {
			if i%4 == 0 { // small numbers are the more telling ones
				b[i] = byte(s.next())
			}
		}
		bufs = append(bufs, d.Out(b))
	}
	for range ins {
		bufs = append(bufs, d.In(1+s.next()*s.next()%5000))
	}
	if s.next()%2 == 0 && d.config.Features&(1<<28) != 0 {
		q.PutIndirect(bufs...)
	} else {
		q.Put(bufs...)
	}
	q.Publish()
}

// bytesOf hands out a script byte by byte, and zeroes after its end.
type bytesOf struct{ rest []byte }

func (s *bytesOf) next() int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b)
}
