package vsock

import "golang.org/x/sys/unix"

// ring holds the bytes of a guest that a socket of the host did not take at once: at most [window], as the guest has credit for no more.
// Its memory is mapped, not of the Go heap, and is there only while it holds something.
type ring struct {
	mem      []byte // nil while it is empty
	start, n int
}

// append copies parts to the end. The caller has seen that there is room.
func (r *ring) append(parts [][]byte) {
	for _, b := range parts {
		for len(b) > 0 {
			end := (r.start + r.n) % len(r.mem)
			k := copy(r.mem[end:min(len(r.mem), end+len(r.mem)-r.n)], b)
			b = b[k:]
			r.n += k
		}
	}
}

// appendTo appends the ring's bytes to parts, in one piece or two.
func (r *ring) appendTo(parts [][]byte) [][]byte {
	end := r.start + r.n
	if end <= len(r.mem) {
		return append(parts, r.mem[r.start:end])
	}
	return append(parts, r.mem[r.start:], r.mem[:end-len(r.mem)])
}

// drop removes the first n bytes.
func (r *ring) drop(n int) {
	r.start = (r.start + n) % len(r.mem)
	r.n -= n
}

// pool keeps the memory of a few rings, so that a reader that is slow now and then costs no system calls.
type pool struct{ free [][]byte }

const maxFree = 8

// take gives an empty ring memory.
func (p *pool) take(r *ring) error {
	if n := len(p.free); n > 0 {
		r.mem, p.free = p.free[n-1], p.free[:n-1]
		return nil
	}
	mem, err := unix.Mmap(-1, 0, window, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	r.mem = mem
	return err
}

// give takes a ring's memory back, and with it whatever it holds.
func (p *pool) give(r *ring) {
	switch {
	case r.mem == nil:
	case len(p.free) < maxFree:
		p.free = append(p.free, r.mem)
	default:
		_ = unix.Munmap(r.mem) // a mapping of ours, whole
	}
	*r = ring{}
}

// close frees what the pool holds.
func (p *pool) close() {
	for _, mem := range p.free {
		_ = unix.Munmap(mem) // a mapping of ours, whole
	}
	p.free = nil
}
