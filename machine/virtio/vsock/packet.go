package vsock

import "encoding/binary"

// headerSize is the size of struct virtio_vsock_hdr (virtio 1.2 section 5.10.6).
const headerSize = 44

// Operations of a packet (virtio 1.2 section 5.10.6).
const (
	opRequest       = 1
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// typeStream is the type of packets of stream sockets.
const typeStream = 1

// Flags of a shutdown: whoever sends it will do this no more.
const (
	noReceive = 1
	noSend    = 2
	noMore    = noReceive | noSend
)

// header is a copy of a packet's header, which the guest cannot change any more.
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	len              uint32 // of the payload
	kind, op         uint16
	flags            uint32
	bufAlloc, fwdCnt uint32 // what the sender has room for, and what it has handed on of all that it got
}

// parse reads the header at the start of a chain's buffers, and says whether they are long enough.
func (h *header) parse(bufs [][]byte) bool {
	var b [headerSize]byte
	n := 0
	for _, buf := range bufs {
		if n += copy(b[n:], buf); n == len(b) {
			break
		}
	}
	le := binary.LittleEndian
	*h = header{
		srcCID: le.Uint64(b[0:]), dstCID: le.Uint64(b[8:]), srcPort: le.Uint32(b[16:]), dstPort: le.Uint32(b[20:]),
		len: le.Uint32(b[24:]), kind: le.Uint16(b[28:]), op: le.Uint16(b[30:]), flags: le.Uint32(b[32:]),
		bufAlloc: le.Uint32(b[36:]), fwdCnt: le.Uint32(b[40:]),
	}
	return n == len(b)
}

// store writes the header to the start of a chain's buffers, which have room for it.
func (h *header) store(bufs [][]byte) {
	var b [headerSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], h.kind)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.bufAlloc)
	le.PutUint32(b[40:], h.fwdCnt)
	for n, i := 0, 0; n < len(b); i++ {
		n += copy(bufs[i], b[n:])
	}
}

// appendPayload appends to parts the n bytes, or as many as there are, that follow the header in a chain's buffers. It appends at most as
// many parts as there is room for, and returns how many bytes they have.
func appendPayload(parts, bufs [][]byte, n int) ([][]byte, int) {
	skip, taken := headerSize, 0
	for _, b := range bufs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		if taken == n || len(parts) == cap(parts) {
			break
		}
		b = b[skip:]
		skip = 0
		b = b[:min(len(b), n-taken)]
		parts = append(parts, b)
		taken += len(b)
	}
	return parts, taken
}

// advance drops the first n bytes of parts.
func advance(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}
