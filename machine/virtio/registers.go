package virtio

import "encoding/binary"

// commonSize is the size of struct virtio_pci_common_cfg (virtio 1.2 section 4.1.4.3), up to the fields that belong to features
// which are not offered.
const commonSize = 56

// Offsets in it.
const (
	regDeviceFeatureSelect = 0
	regDeviceFeature       = 4
	regDriverFeatureSelect = 8
	regDriverFeature       = 12
	regConfigVector        = 16
	regNumQueues           = 18
	regStatus              = 20
	regGeneration          = 21
	regQueueSelect         = 22
	regQueueSize           = 24
	regQueueVector         = 26
	regQueueEnable         = 28
	regQueueNotifyOff      = 30
	regQueueDesc           = 32
	regQueueAvail          = 40
	regQueueUsed           = 48
)

// commonFields are the fields that can be written, in the order in which one access that spans several of them takes effect.
var commonFields = [...]struct{ off, size int }{
	{regDeviceFeatureSelect, 4}, {regDriverFeatureSelect, 4}, {regDriverFeature, 4}, {regConfigVector, 2}, {regStatus, 1},
	{regQueueSelect, 2}, {regQueueSize, 2}, {regQueueVector, 2}, {regQueueEnable, 2},
	{regQueueDesc, 8}, {regQueueAvail, 8}, {regQueueUsed, 8},
}

// registers is the BAR of a transport, without the MSI-X structures, which machine/pci answers.
type registers struct{ t *Transport }

// Read implements [pci.Region]. What is between the structures, and behind the last byte of each, is zero.
func (r registers) Read(off uint64, p []byte) {
	clear(p)
	t := r.t
	switch page, at := off&^(barPage-1), int(off%barPage); {
	case page == barCommon && at < commonSize:
		t.mu.Lock()
		defer t.mu.Unlock()
		image := t.common()
		copy(p, image[at:])
	case page == barISR && at == 0 && len(p) > 0:
		p[0] = byte(t.isr.Swap(0)) // reading acknowledges
	case page == barDevice:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dev.ReadConfig(p, at)
	}
}

// Write implements [pci.Region].
func (r registers) Write(off uint64, p []byte) {
	t := r.t
	switch page, at := off&^(barPage-1), int(off%barPage); {
	case page == barCommon && at < commonSize:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.writeCommon(at, p)
	case page == barDevice:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dev.WriteConfig(p, at)
	case page == barNotify && at/notifyMultiplier < len(t.kicks) && len(p) > 0:
		t.kicks[at/notifyMultiplier].Ring() // the address says which queue; there is no ioeventfd, or it is not exact
	}
}

// common is the common configuration as the driver reads it. The caller holds mu.
func (t *Transport) common() (b [commonSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[regDeviceFeatureSelect:], t.deviceSelect)
	le.PutUint32(b[regDeviceFeature:], half(t.offered, t.deviceSelect))
	le.PutUint32(b[regDriverFeatureSelect:], t.driverSelect)
	le.PutUint32(b[regDriverFeature:], half(t.accepted, t.driverSelect))
	le.PutUint16(b[regConfigVector:], uint16(t.configVector.Load()))
	le.PutUint16(b[regNumQueues:], uint16(len(t.queues)))
	b[regStatus] = byte(t.status.Load())
	b[regGeneration] = byte(t.generation.Load())
	le.PutUint16(b[regQueueSelect:], t.queueSelect)
	i := int(t.queueSelect)
	if i >= len(t.queues) {
		le.PutUint16(b[regQueueVector:], noVector) // all else is 0: size 0 says that there is no such queue
		return b
	}
	q := &t.queues[i]
	le.PutUint16(b[regQueueSize:], q.size)
	le.PutUint16(b[regQueueVector:], uint16(t.queueVectors[i].Load()))
	if q.queue != nil {
		b[regQueueEnable] = 1
	}
	le.PutUint16(b[regQueueNotifyOff:], uint16(i))
	le.PutUint64(b[regQueueDesc:], q.desc)
	le.PutUint64(b[regQueueAvail:], q.avail)
	le.PutUint64(b[regQueueUsed:], q.used)
	return b
}

// half gives 32 of the 64 feature bits, and none beyond them.
func half(features uint64, selected uint32) uint32 {
	if selected > 1 {
		return 0
	}
	return uint32(features >> (32 * selected))
}

// writeCommon merges any bytes into the fields they touch, so that an access of any size and alignment has a meaning.
// For the accesses that the specification allows, that is the field's own. The caller holds mu.
func (t *Transport) writeCommon(off int, p []byte) {
	for _, f := range commonFields {
		start, end := max(off, f.off), min(off+len(p), f.off+f.size)
		if start >= end {
			continue
		}
		image := t.common() // anew for each field: selectors change what is shown behind them
		var v [8]byte
		copy(v[:f.size], image[f.off:])
		copy(v[start-f.off:f.size], p[start-off:end-off])
		t.writeField(f.off, binary.LittleEndian.Uint64(v[:]))
	}
}

// writeField gives one field a new value. The caller holds mu.
func (t *Transport) writeField(off int, v uint64) {
	switch off {
	case regDeviceFeatureSelect:
		t.deviceSelect = uint32(v)
	case regDriverFeatureSelect:
		t.driverSelect = uint32(v)
	case regDriverFeature:
		if t.driverSelect < 2 && t.status.Load()&statusFeaturesOK == 0 { // fixed once they were agreed on
			shift := 32 * t.driverSelect
			t.accepted = t.accepted&^(0xffff_ffff<<shift) | v<<shift
		}
	case regConfigVector:
		t.configVector.Store(t.vector(v))
	case regStatus:
		t.writeStatus(uint32(v))
	case regQueueSelect:
		t.queueSelect = uint16(v)
	default:
		if i := int(t.queueSelect); i < len(t.queues) {
			t.writeQueueField(i, off, v)
		}
	}
}

// writeQueueField gives a field of queue i a new value. But for the vector, all are fixed while the queue is enabled.
func (t *Transport) writeQueueField(i, off int, v uint64) {
	q := &t.queues[i]
	if off == regQueueVector {
		t.queueVectors[i].Store(t.vector(v))
		return
	}
	if q.queue != nil {
		return
	}
	switch off {
	case regQueueSize:
		q.size = uint16(v) // checked by queue_enable
	case regQueueEnable:
		if v == 1 { // the driver must not write 0
			t.enableQueue(i)
		}
	case regQueueDesc:
		q.desc = v
	case regQueueAvail:
		q.avail = v
	case regQueueUsed:
		q.used = v
	}
}

// vector is what a vector register holds after a write of v: NO_VECTOR for one that does not exist.
func (t *Transport) vector(v uint64) uint32 {
	if v > uint64(len(t.queues)) { // one for each queue and one for the configuration
		return noVector
	}
	return uint32(v)
}
