package attach

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"usui/internal/pid1/wire"
)

// copyBuffer is the size of one read, of the order of a virtio-serial buffer.
const copyBuffer = 32 << 10

// writeGrace is how long the end of Run waits for a Write into the caller's stream.
const writeGrace = time.Second

// output copies one stream of the guest to the caller.
type output struct {
	name   wire.Stream
	from   io.Reader
	to     io.Writer
	broken chan struct{} // gets one value when to cannot be written to any more
	done   chan struct{} // closed when the stream is complete or cannot be
	ended  chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	taken    int64 // guarded by mu: bytes read and passed on
	want     int64 // guarded by mu: bytes that the guest counted; -1 not known yet
	complete bool  // guarded by mu: done is closed
	readErr  error // guarded by mu
	writeErr error // guarded by mu
}

func newOutput(name wire.Stream, from io.Reader, to io.Writer) *output {
	if to == nil {
		to = io.Discard
	}
	return &output{
		name: name, from: from, to: to, want: -1,
		broken: make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// start copies until the connection is closed.
func (o *output) start() {
	o.ended = make(chan struct{})
	go func() {
		defer close(o.ended)
		o.run()
	}()
}

func (o *output) run() {
	buf := make([]byte, copyBuffer)
	for {
		n, err := o.from.Read(buf)
		if n > 0 && !o.isBroken() {
			if _, err := o.to.Write(buf[:n]); err != nil {
				o.fail(err)
			}
		}
		if o.took(n, err) {
			return
		}
	}
}

func (o *output) isBroken() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writeErr != nil
}

// fail notes that the caller's stream is broken. From then on the guest's bytes are read and dropped, for those on their
// way must not hold up the rest.
func (o *output) fail(err error) {
	o.mu.Lock()
	o.writeErr = err
	o.mu.Unlock()
	o.broken <- struct{}{}
}

// took counts n bytes and reports whether err ends the stream.
func (o *output) took(n int, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken += int64(n)
	if err != nil {
		o.readErr = err
	}
	o.settle()
	return err != nil
}

// expect sets how many bytes there are in all.
func (o *output) expect(bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want = bytes
	o.settle()
}

// settle closes done when there is nothing to wait for; mu is held.
func (o *output) settle() {
	if o.complete || o.readErr == nil && (o.want < 0 || o.taken < o.want) {
		return
	}
	o.complete = true
	close(o.done)
}

// incomplete says what is wrong with the bytes that came.
func (o *output) incomplete() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.taken > o.want:
		return fmt.Errorf("guest: %s has %d bytes, %d were announced", o.name, o.taken, o.want)
	case o.taken < o.want:
		return fmt.Errorf("%s ended after %d of %d bytes: %w", o.name, o.taken, o.want, ErrEnded)
	}
	return nil
}

// failure is the error of the caller's stream, unless its reader just went away.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writeErr == nil || errors.Is(o.writeErr, syscall.EPIPE) || errors.Is(o.writeErr, io.ErrClosedPipe) {
		return nil
	}
	return fmt.Errorf("write %s: %w", o.name, o.writeErr)
}

// stop waits for the goroutine once the connection is closed. It leaves one whose Write does not return.
func (o *output) stop() {
	if o.ended == nil {
		return
	}
	t := time.NewTimer(writeGrace)
	defer t.Stop()
	select {
	case <-o.ended:
	case <-t.C:
	}
}
