package attach

import (
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// input copies the caller's standard input to the guest.
type input struct {
	from  io.Reader
	to    io.Writer
	ended chan int64    // gets the number of bytes at the end of the stream
	over  chan struct{} // closed when the goroutine has ended; nil before start

	// For a file that can be polled:
	raw      syscall.RawConn
	wake     *os.File // readable once its other end, stopping, is closed
	stopping *os.File
}

func newInput(from io.Reader, to io.Writer) *input {
	return &input{from: from, to: to, ended: make(chan int64, 1)}
}

// start copies until the caller's stream ends, stop is called or the connection is closed. Without a stream the guest
// is told of its end at once.
func (in *input) start() {
	if in.from == nil {
		in.ended <- 0
		return
	}
	if f, ok := in.from.(*os.File); ok {
		in.watch(f)
	}
	in.over = make(chan struct{})
	go func() {
		defer close(in.over)
		in.run()
	}()
}

// watch prepares to wait for f and for stop together. When that cannot be done, Read alone has to do.
func (in *input) watch(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	if r, w, err := os.Pipe(); err == nil {
		in.raw, in.wake, in.stopping = raw, r, w
	}
}

func (in *input) run() {
	var bytes int64
	buf := make([]byte, copyBuffer)
	for in.readable() {
		n, err := in.from.Read(buf)
		if n > 0 {
			if _, err := in.to.Write(buf[:n]); err != nil {
				return
			}
			bytes += int64(n)
		}
		if err != nil {
			in.ended <- bytes
			return
		}
	}
}

// readable waits until a Read will not block. It returns false when stop was called first.
func (in *input) readable() bool {
	if in.raw == nil {
		return true
	}
	stopped := false
	err := in.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(in.wake.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); err != unix.EINTR {
				break
			}
		}
		stopped = fds[1].Revents != 0
	})
	return err == nil && !stopped
}

// stop ends the copy, once the connection is closed, and waits for it unless it may be in a Read that nothing ends.
func (in *input) stop() {
	if in.over == nil || in.raw == nil {
		return
	}
	in.stopping.Close()
	t := time.NewTimer(writeGrace)
	defer t.Stop()
	select {
	case <-in.over:
		in.wake.Close()
	case <-t.C:
		// Another process took what poll had seen. The collector closes wake when the Read returns.
	}
}
