package block

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// job is a request on its way through an engine: one or more system calls, one after the other.
type job struct {
	req    Request
	done   Completion
	length int64     // of the request
	pos    int64     // bytes that are done
	again  int       // calls in a row that the kernel put off
	writes bool      // a Zero by writing
	zeroes [1][]byte // of a Zero by writing: what to write next
}

// maxAgain is how often a call that the kernel puts off is made again. Once is normal; the bound only keeps a file that
// always answers so from taking a CPU.
const maxAgain = 1000

// The modes of fallocate(2). KEEP_SIZE: a disk does not grow by losing data.
const (
	punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	zeroRange = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
)

// zeroChunk is how many bytes of zeroes are written at a time where the file system cannot zero by itself.
const zeroChunk = 256 << 10

func (f *File) newJob(r *Request, done Completion) job {
	return job{req: *r, done: done, length: r.Bytes(), writes: r.Op == Zero && f.zeroByWriting.Load()}
}

// nextZeroes returns the buffer that a Zero by writing writes next.
func (f *File) nextZeroes(j *job) [][]byte {
	f.zeroOnce.Do(func() { f.zero = make([]byte, zeroChunk) })
	j.zeroes[0] = f.zero[:min(j.length-j.pos, zeroChunk)]
	return j.zeroes[:]
}

// settle takes the kernel's answer to the last call for j: n bytes, or an error. It says whether the job is finished and with
// what; if not, the next call goes on at j.pos.
func (f *File) settle(j *job, n int, err error) (finished bool, result error) {
	switch {
	case putOff(err) && j.again < maxAgain:
		j.again++
		return false, nil
	case err == unix.EOPNOTSUPP && j.req.Op == Zero && !j.writes:
		f.zeroByWriting.Store(true)
		j.writes = true
		return false, nil
	case err != nil:
		return true, f.failed(j, err)
	}
	switch {
	case j.req.Op == Flush, j.req.Op == Discard, j.req.Op == Zero && !j.writes:
		return true, nil
	case n == 0:
		return true, f.atEnd(j)
	}
	j.again = 0
	j.pos += int64(n)
	return j.pos >= j.length, nil
}

// putOff says whether the kernel wants to be asked again. ECANCELED: the thread that submitted ended.
func putOff(err error) bool {
	return err == unix.EINTR || err == unix.EAGAIN || err == unix.ECANCELED
}

// atEnd finishes a transfer that met the end of the file. A file reads as zero there: its last sector may be cut, or
// somebody shortened it. The end of a device cannot move.
func (f *File) atEnd(j *job) error {
	if j.req.Op != Read || f.device {
		return f.failed(j, io.ErrUnexpectedEOF)
	}
	skip := j.pos
	for _, b := range j.req.Buffers {
		k := min(skip, int64(len(b)))
		clear(b[k:])
		skip -= k
	}
	return nil
}

func (f *File) failed(j *job, cause error) error {
	if errors.Is(cause, unix.EOPNOTSUPP) {
		cause = fmt.Errorf("%w: %w", ErrUnsupported, cause)
	}
	if j.req.Op == Flush {
		return fmt.Errorf("%s: flush: %w", f.path, cause)
	}
	return fmt.Errorf("%s: %v %d bytes at %d: %w", f.path, j.req.Op, j.length-j.pos, j.req.Offset+j.pos, cause)
}
