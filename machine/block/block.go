package block

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	ErrReadOnly    = errors.New("disk is read-only")
	ErrRange       = errors.New("outside the disk")
	ErrAlign       = errors.New("not a multiple of the block size")
	ErrUnsupported = errors.New("operation not supported")
	ErrDepth       = errors.New("more requests in flight than the disk takes")
	ErrClosed      = errors.New("disk is closed")
	ErrInUse       = errors.New("in use")
)

// Op is what a [Request] asks for.
type Op uint8

// The operations. Discard leaves the range with any content; Zero makes it read as zero and keeps its room where it can.
// Flush makes every write that completed before it was submitted durable.
const (
	Read Op = iota
	Write
	Flush
	Discard
	Zero
)

// String is the operation in a message.
func (o Op) String() string {
	switch o {
	case Read:
		return "read"
	case Write:
		return "write"
	case Flush:
		return "flush"
	case Discard:
		return "discard"
	case Zero:
		return "zero"
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// Request is one operation on a disk. Offset and length are multiples of the disk's block size; single buffers need not be.
type Request struct {
	Op      Op
	Offset  int64    // bytes
	Length  int64    // bytes, of Discard and Zero; of others it is ignored
	Buffers [][]byte // of Read and Write: the slice too belongs to the backend until the request is complete
	Tag     uint64   // for the completion; the backend only hands it back
}

// Bytes returns how many bytes of the disk the request is about.
func (r *Request) Bytes() int64 {
	switch r.Op {
	case Read, Write:
		var n int64
		for _, b := range r.Buffers {
			n += int64(len(b))
		}
		return n
	case Discard, Zero:
		return r.Length
	}
	return 0
}

// Completion is called once for each request, perhaps from another goroutine, perhaps before Submit returns. It must not
// block, and it may submit.
type Completion func(tag uint64, err error)

// Geometry describes a disk. It does not change.
type Geometry struct {
	Size      int64 // bytes, a multiple of BlockSize
	BlockSize int   // bytes, a power of two of at least 512
	ReadOnly  bool  // Write, Discard and Zero are refused with ErrReadOnly
	Discard   bool  // Discard gives room back; without it, it is refused with ErrUnsupported
	Zero      bool  // Zero works; without it, it is refused with ErrUnsupported
	Depth     int   // requests in flight at most; those above are refused with ErrDepth
}

// Backend holds the bytes of a disk. All methods may be called from any goroutine.
type Backend interface {
	Geometry() Geometry

	// Submit starts the requests, in no order, and does not wait for storage. reqs is the caller's again when Submit
	// returns; the buffers are when the request is complete. What is wrong with a single request comes with its
	// completion. An error of Submit itself, which wraps ErrClosed, means that no request was taken.
	//
	// A thread that ends cancels its requests in the kernel: do not call Submit from a goroutine that is locked to one.
	Submit(reqs []Request, done Completion) error

	// Close waits for what is in flight, completions included, and frees the disk. It does not flush. A second Close does nothing.
	Close() error
}

// Waiter is what a [Backend] can be besides: a backend that can do without a thread of its own.
type Waiter interface {
	// SubmitAndWait is Submit by a caller that has nothing else to do: it may sleep until something in flight is
	// complete, and often runs the completion itself. For a single request that storage has to fetch, that saves one of
	// two wake-ups.
	SubmitAndWait(reqs []Request, done Completion) error
}

// Check says what is wrong with a request to a disk of this geometry; the error wraps one of this package's.
func (g Geometry) Check(r *Request) error {
	n := r.Bytes()
	switch {
	case r.Op > Zero:
		return fmt.Errorf("%v: %w", r.Op, ErrUnsupported)
	case r.Op == Flush:
		return nil
	case r.Op != Read && g.ReadOnly:
		return g.refuse(r, n, ErrReadOnly)
	case r.Op == Discard && !g.Discard, r.Op == Zero && !g.Zero:
		return g.refuse(r, n, ErrUnsupported)
	case r.Offset < 0 || n < 0 || n > g.Size || r.Offset > g.Size-n:
		return g.refuse(r, n, ErrRange)
	case (r.Offset|n)&int64(g.BlockSize-1) != 0:
		return g.refuse(r, n, ErrAlign)
	}
	return nil
}

func (g Geometry) refuse(r *Request, n int64, cause error) error {
	return fmt.Errorf("%v %d bytes at %d of a disk of %d: %w", r.Op, n, r.Offset, g.Size, cause)
}
