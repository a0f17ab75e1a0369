package net

import "golang.org/x/sys/unix"

// vector is a list of buffers for one readv or writev. The buffers are guest memory, which does not move, or belong to whoever
// holds the vector.
type vector []unix.Iovec

// maxParts is how many buffers of the guest go into one call; the kernel takes 1024 (UIO_MAXIOV).
const maxParts = 1000

// add appends bufs.
func (v vector) add(bufs ...[]byte) vector {
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		v = append(v, unix.Iovec{Base: &b[0]})
		v[len(v)-1].SetLen(len(b))
	}
	return v
}

// drop removes the first n.
func (v vector) drop(n int) vector { return v[:copy(v, v[n:])] }

// gather copies the first bytes of bufs into b and returns what of bufs comes behind them. There must be enough.
func gather(b []byte, bufs [][]byte) [][]byte {
	for len(b) > 0 {
		n := copy(b, bufs[0])
		b = b[n:]
		if n < len(bufs[0]) {
			bufs[0] = bufs[0][n:]
		} else {
			bufs = bufs[1:]
		}
	}
	return bufs
}
