package server

// Sizes of the buffers that clients borrow, and how many are kept for the next.
const (
	bufferBytes = 16 << 10
	keptBuffers = 256
)

// buffers are free buffers. They are as few as there are clients with something to say. All loops together keep keptBuffers, or one each.
type buffers struct {
	free [][]byte
	most int
}

// get returns an empty buffer with room for n bytes.
func (b *buffers) get(n int) []byte {
	if k := len(b.free); n <= bufferBytes && k > 0 {
		p := b.free[k-1]
		b.free = b.free[:k-1]
		return p
	}
	return make([]byte, 0, max(n, bufferBytes))
}

// put takes a buffer back. One that grew is left to the garbage collector.
func (b *buffers) put(p []byte) {
	if cap(p) == bufferBytes && len(b.free) < b.most {
		b.free = append(b.free, p[:0])
	}
}
