package net

import "encoding/binary"

// headerSize is the length of struct virtio_net_hdr with num_buffers, which it always has (virtio 1.2 section 5.1.6).
const headerSize = 12

// Sizes of frames, with the header.
const (
	ethernetHeader = 14
	MinFrame       = headerSize + ethernetHeader
	largeFrame     = 65562         // what a driver that accepts large packets has room for (virtio 1.2 section 5.1.6.3.1)
	MaxFrame       = 64<<10 + 4096 // QEMU's, a little more than any packet of Linux; what is longer is dropped
)

// header is what precedes a frame:
//
//	0 flags  1 gso_type  2 hdr_len  4 gso_size  6 csum_start  8 csum_offset  10 num_buffers
type header [headerSize]byte

// Flags and types of a header.
const (
	needsChecksum = 1 // the checksum from csum_start to the end is yet to be stored at csum_offset behind it
	dataValid     = 2 // the checksum was verified

	gsoNone = 0
	gsoTCP4 = 1
	gsoTCP6 = 4
	gsoUDP  = 5
	gsoECN  = 0x80 // with TCP: the first segment alone has CWR
)

// work is what one side may leave to the other.
type work uint8

const (
	workChecksum work = 1 << iota
	workTSO4
	workTSO6
	workECN
	workUSO
	workAsValid // a large packet may come without needsChecksum, and any with dataValid: only the host's side may do that
)

// workForHost is what the driver that accepted features may leave to us. What it accepted without what that depends on, it did not accept
// (virtio 1.2 section 5.1.3.1).
func workForHost(features uint64) work {
	return offered(features, FeatureCsum, FeatureHostTSO4, FeatureHostTSO6, FeatureHostECN, FeatureHostUSO)
}

// workForGuest is what we may leave to the driver. The bits for UDP over IPv4 and IPv6 count together, as in the kernel.
func workForGuest(features uint64) work {
	if features&FeatureGuestUSO6 == 0 {
		features &^= FeatureGuestUSO4
	}
	w := offered(features, FeatureGuestCsum, FeatureGuestTSO4, FeatureGuestTSO6, FeatureGuestECN, FeatureGuestUSO4)
	if w != 0 {
		w |= workAsValid
	}
	return w
}

func offered(features, checksum, tso4, tso6, ecn, uso uint64) (w work) {
	if features&checksum == 0 {
		return 0
	}
	w = workChecksum
	for _, n := range []struct {
		feature uint64
		work    work
	}{{tso4, workTSO4}, {tso6, workTSO6}, {uso, workUSO}} {
		if features&n.feature != 0 {
			w |= n.work
		}
	}
	if features&ecn != 0 && w&(workTSO4|workTSO6) != 0 {
		w |= workECN
	}
	return w
}

// check looks at the header of a frame of n bytes, and clears in it what the receiver has no use for. It says false to one that
// makes no sense, or leaves work to the receiver that the sender may not leave.
func (h *header) check(n int, may work) bool {
	var clean header
	partial := h[0]&needsChecksum != 0
	if partial {
		start, offset := h.word(6), h.word(8)
		if may&workChecksum == 0 || start < ethernetHeader || start+offset+2 > n {
			return false
		}
		clean[0] = needsChecksum
		copy(clean[6:10], h[6:10])
	} else if may&workAsValid != 0 {
		clean[0] = h[0] & dataValid
	}
	if h[1] != gsoNone {
		if !partial && may&workAsValid == 0 || !h.checkLarge(n, may) {
			return false
		}
		copy(clean[1:6], h[1:6])
	}
	*h = clean
	return true
}

// checkLarge looks at what belongs to a packet that is to be cut into segments.
func (h *header) checkLarge(n int, may work) bool {
	need, transport, offset := work(0), 20, 16 // header and place of the checksum in it: TCP's
	switch h[1] &^ gsoECN {
	case gsoTCP4:
		need = workTSO4
	case gsoTCP6:
		need = workTSO6
	case gsoUDP:
		need, transport, offset = workUSO, 8, 6
	default:
		return false
	}
	if h[1]&gsoECN != 0 {
		if h[1]&^gsoECN == gsoUDP {
			return false
		}
		need |= workECN
	}
	if h[0]&needsChecksum != 0 && (h.word(6)+transport > n || h.word(8) != offset) {
		return false
	}
	headers, segment := h.word(2), h.word(4)
	return may&need == need && headers <= n && segment > 0
}

// word reads the field at off.
func (h *header) word(off int) int { return int(binary.LittleEndian.Uint16(h[off:])) }

// setBuffers says over how many chains the frame is spread.
func (h *header) setBuffers(n int) { binary.LittleEndian.PutUint16(h[10:], uint16(n)) }
