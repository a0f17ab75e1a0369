package vhostusertest

import (
	"encoding/binary"
	"os"

	"usui/host/vhostuser"
)

// message is one of the front end's.
type message struct {
	request vhostuser.Request
	flags   uint32
	payload []byte
	files   []*os.File // nil where one was kept
}

// word is a 64-bit word of the payload, or 0.
func (m message) word(i int) uint64 {
	if len(m.payload) < 8*i+8 {
		return 0
	}
	return binary.LittleEndian.Uint64(m.payload[8*i:])
}

// keep takes over file i.
func (m message) keep(i int) *os.File {
	if i >= len(m.files) {
		return nil
	}
	f := m.files[i]
	m.files[i] = nil
	return f
}

// Reply is a good reply.
func Reply(r vhostuser.Request, number uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(r))
	b = binary.LittleEndian.AppendUint32(b, vhostuser.Version|vhostuser.FlagReply)
	b = binary.LittleEndian.AppendUint32(b, vhostuser.ReplySize)
	return binary.LittleEndian.AppendUint64(b, number)
}

// understood are the protocol features whose messages this package knows.
const understood = vhostuser.ProtocolMQ | vhostuser.ProtocolReplyAck

// sizes of the payloads.
var sizes = map[vhostuser.Request]int{
	vhostuser.GetFeatures: 0, vhostuser.SetFeatures: 8, vhostuser.SetOwner: 0, vhostuser.SetVringNum: 8, vhostuser.SetVringAddr: 40,
	vhostuser.SetVringBase: 8, vhostuser.GetVringBase: 8, vhostuser.SetVringKick: 8, vhostuser.SetVringCall: 8,
	vhostuser.GetProtocolFeatures: 0, vhostuser.SetProtocolFeatures: 8, vhostuser.GetQueueNum: 0, vhostuser.SetVringEnable: 8,
}

// handle follows a message and gives the reply, if there is to be one.
func (b *Backend) handle(m message) (reply []byte, ok bool) {
	b.mu.Lock()
	b.requests = append(b.requests, m.request)
	b.mu.Unlock()
	size, fixed := sizes[m.request]
	if fixed && len(m.payload) != size || m.flags&^vhostuser.FlagNeedReply != vhostuser.Version {
		b.t.Errorf("back end: %v with flags %#x and %d bytes", m.request, m.flags, len(m.payload))
	}
	number, answered := b.follow(m)
	if m.flags&vhostuser.FlagNeedReply != 0 {
		b.mu.Lock()
		if !b.ack {
			b.t.Errorf("back end: %v wants a reply, which was not negotiated", m.request)
		}
		b.mu.Unlock()
		answered = true
	}
	return Reply(m.request, number), answered
}

// follow does what a message says. answered is true if its kind has a reply.
func (b *Backend) follow(m message) (number uint64, answered bool) {
	switch m.request {
	case vhostuser.GetFeatures:
		return b.Features, true
	case vhostuser.GetProtocolFeatures:
		return b.ProtocolFeatures, true
	case vhostuser.GetQueueNum:
		return b.Queues, true
	case vhostuser.SetOwner:
		return 0, false
	case vhostuser.GetVringBase:
		return b.stopRing(m), true
	case vhostuser.SetFeatures:
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.accepted = m.word(0); b.accepted&^b.Features != 0 {
			b.t.Errorf("back end: features %#x, it has %#x", b.accepted, b.Features)
		}
	case vhostuser.SetProtocolFeatures:
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.ack = m.word(0)&vhostuser.ProtocolReplyAck != 0; m.word(0)&^(b.ProtocolFeatures&understood) != 0 {
			b.t.Errorf("back end: protocol features %#x, of %#x that both have", m.word(0), b.ProtocolFeatures&understood)
		}
	case vhostuser.SetMemTable:
		b.setMemory(m)
	default:
		b.setRing(m)
	}
	return 0, false
}

func (b *Backend) setMemory(m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int(uint32(m.word(0)))
	if len(m.payload) != 8+32*n || len(m.files) != n {
		b.t.Errorf("back end: %d regions in %d bytes with %d files", n, len(m.payload), len(m.files))
		return
	}
	b.closeFiles()
	b.regions = nil
	for i := range n {
		w := func(j int) uint64 { return m.word(1 + 4*i + j) }
		b.regions = append(b.regions, vhostuser.Region{Guest: w(0), Size: w(1), User: w(2), Offset: w(3)})
		b.files = append(b.files, m.keep(i))
	}
}

// setRing follows what is said of one ring.
func (b *Backend) setRing(m message) {
	index, num := int(uint32(m.word(0))), uint32(m.word(0)>>32)
	if m.request == vhostuser.SetVringKick || m.request == vhostuser.SetVringCall {
		index &= vhostuser.RingIndexMask
	}
	b.mu.Lock()
	r := b.rings[index]
	if r == nil {
		r = &Ring{Ring: vhostuser.Ring{Index: index}}
		b.rings[index] = r
	}
	started := false
	switch m.request {
	case vhostuser.SetVringNum:
		r.Size = uint16(num)
	case vhostuser.SetVringBase:
		r.Base = uint16(num)
	case vhostuser.SetVringAddr:
		r.Desc, r.Used, r.Avail = m.word(1), m.word(2), m.word(3)
	case vhostuser.SetVringCall:
		if r.CallFile = m.keep(0); (r.CallFile == nil) != (m.word(0)&vhostuser.NoFile != 0) {
			b.t.Errorf("back end: %v %#x with %d files", m.request, m.word(0), len(m.files))
		}
	case vhostuser.SetVringKick:
		r.KickFile = m.keep(0)
		started = b.accepted&vhostuser.FeatureProtocol == 0
	case vhostuser.SetVringEnable:
		r.Enabled = num == 1
		started = r.Enabled
	default:
		b.t.Errorf("back end: unknown %v", m.request)
	}
	if started && (r.KickFile == nil || r.Size == 0 || r.Desc == 0) {
		b.t.Errorf("back end: ring %d is started without all it needs: %+v", index, *r)
	}
	given := *r
	b.mu.Unlock()
	if started && b.Started != nil {
		b.Started(given)
	}
}

// stopRing gives a ring back.
func (b *Backend) stopRing(m message) uint64 {
	index := int(uint32(m.word(0)))
	if b.Stopped != nil {
		b.Stopped(index)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeRing(index)
	return uint64(b.RingBase)<<32 | uint64(index)
}
