package front

import (
	"encoding/binary"
	"os"
	"sync"
)

const (
	maxWrite = 256 << 10
	// A request is at most a write, its head (struct fuse_in_header and struct fuse_write_in) and what the kernel wants to have beside it; so is a reply.
	largeBytes = maxWrite + 4096
	// Requests of names and small attributes, and replies to them. Thousands of clients may wait for a source that is away, each with such a request and room for its reply.
	smallBytes = 8 << 10
	keptLarge  = 2 * maxIdle
)

// Where requests of linux/fuse.h have what is looked at before they are answered: in struct fuse_in_header, and in struct fuse_read_in and struct fuse_getxattr_in behind it.
const (
	opcodeAt    = 4
	uniqueAt    = 8
	readSizeAt  = 40 + 16
	xattrSizeAt = 40
)

// largeBuffers are for requests that are read, as the kernel wants room for the largest one, and for what is large. The zero value is usable.
type largeBuffers struct {
	mu   sync.Mutex
	free [][]byte
}

func (b *largeBuffers) take() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free) - 1; n >= 0 {
		p := b.free[n]
		b.free = b.free[:n]
		return p
	}
	return present(largeBytes)
}

// give gives a buffer back.
func (b *largeBuffers) give(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) < keptLarge {
		b.free = append(b.free, p)
	}
}

// present is memory of which each page is there: a process that is killed while the kernel copies to or from memory that is not there yet gives the client EIO.
func present(n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; i += os.Getpagesize() {
		p[i] = 1
	}
	return p
}

// hasLargeReply says whether the reply to a request may not go into a small buffer.
func hasLargeReply(request []byte) bool {
	const read, getXattr, listXattr, readDir, ioctl, readDirPlus = 15, 22, 23, 28, 39, 44 // of linux/fuse.h
	at := 0
	switch opcode(request) {
	case read, readDir, readDirPlus:
		at = readSizeAt
	case getXattr, listXattr:
		at = xattrSizeAt
	case ioctl:
		return true
	default:
		return false
	}
	const head = 64 // struct fuse_out_header, and what there is before what was asked for
	return len(request) < at+4 || binary.NativeEndian.Uint32(request[at:]) > smallBytes-head
}

// opcode is what a request asks for, 0 if it is cut off.
func opcode(request []byte) uint32 {
	if len(request) < opcodeAt+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(request[opcodeAt:])
}

// unique is the number of a request, 0 if it is cut off.
func unique(request []byte) uint64 {
	if len(request) < uniqueAt+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(request[uniqueAt:])
}
