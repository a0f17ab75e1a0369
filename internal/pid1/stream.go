package pid1

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"usui/internal/pid1/wire"
)

// copyBuffer is the size of one read. The virtio console driver takes 32 KiB at once (drivers/char/virtio_console.c,
// port_fops_write).
const copyBuffer = 32 << 10

// idleCut is how long an output may give nothing once all its writers should be dead.
const idleCut = time.Second

// input copies a port to the command's standard input until the byte count that the host gave is reached.
type input struct {
	port io.Reader
	to   *os.File
	eof  []byte // if not nil, to is a terminal, whose input ends with these bytes and not by closing it

	mu    sync.Mutex
	bytes int64 // guarded by mu: taken from the port
	limit int64 // guarded by mu: where the stream ends; -1 not known yet
	over  bool  // guarded by mu
}

func newInput(port io.Reader, to *os.File, eof []byte) *input {
	return &input{port: port, to: to, eof: eof, limit: -1}
}

// run copies until the end, or until the command closes its standard input: from then on the port is not read, so the
// host's writer comes to rest. It ends at last when the port is closed.
func (in *input) run() {
	defer in.end()
	buf := make([]byte, copyBuffer)
	for {
		n, err := in.port.Read(buf)
		if n > 0 {
			if _, err := in.to.Write(buf[:n]); err != nil {
				return
			}
		}
		if in.took(n) || err != nil {
			return
		}
	}
}

// took counts n bytes and reports whether the stream is at its end.
func (in *input) took(n int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bytes += int64(n)
	return in.over || in.limit >= 0 && in.bytes >= in.limit
}

// endAt sets the length of the stream.
func (in *input) endAt(limit int64) error {
	in.mu.Lock()
	if in.limit >= 0 || in.bytes > limit {
		defer in.mu.Unlock()
		return fmt.Errorf("stdin ends after %d bytes: it has %d already and an end at %d", limit, in.bytes, in.limit)
	}
	in.limit = limit
	atEnd := in.bytes == limit
	in.mu.Unlock()
	if atEnd {
		in.end()
	}
	return nil
}

// end lets the command see the end of its standard input.
func (in *input) end() {
	if in.eof == nil {
		in.close()
		return
	}
	// A terminal whose command does not read may be full; then nobody waits for the end either.
	_ = in.to.SetWriteDeadline(time.Now().Add(idleCut))
	_, _ = in.to.Write(in.eof)
}

// close ends the copy, also a Write that waits for the command to read. Closing twice is allowed.
func (in *input) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
	if in.eof == nil {
		_ = in.to.Close() // the second close fails
		return
	}
	_ = in.to.SetWriteDeadline(time.Now()) // the terminal is the output's to close
}

// output copies one output of the command to its port. The port sets the pace.
type output struct {
	name  wire.Stream
	from  *os.File
	port  io.Writer
	done  chan struct{} // closed when run has ended
	bytes int64         // taken by the port; read it after done
	idle  atomic.Bool
}

func newOutput(name wire.Stream, from *os.File, port io.Writer) *output {
	return &output{name: name, from: from, port: port, done: make(chan struct{})}
}

// run copies until all writers have closed their ends or close is called. When the port fails the host is gone, and what
// processes say while they are stopped is dropped.
func (o *output) run() {
	defer close(o.done)
	defer o.close()
	broken := false
	buf := make([]byte, copyBuffer)
	for {
		if o.idle.Load() {
			// Each read has its own time: a host that reads slowly does not use it up.
			_ = o.from.SetReadDeadline(time.Now().Add(idleCut))
		}
		n, err := o.from.Read(buf)
		if n > 0 && !broken {
			m, err := o.port.Write(buf[:n])
			o.bytes += int64(m)
			broken = err != nil
		}
		if err != nil {
			return
		}
	}
}

// close closes our end: the command gets SIGPIPE, or with a terminal SIGHUP. Closing twice is allowed.
func (o *output) close() {
	// The second close fails, and no close of a pipe or terminal loses anything.
	_ = o.from.Close()
}

// cutIdle ends the copy when nothing comes for a while.
func (o *output) cutIdle() {
	o.idle.Store(true)
	_ = o.from.SetReadDeadline(time.Now().Add(idleCut))
}
