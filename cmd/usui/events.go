package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"usui/internal/cli"
	"usui/machine/vmm"
)

// events tells what happens to a machine: as JSON lines on stdout for programs, or as a line on stderr where a user should know.
type events struct {
	stderr  io.Writer
	started time.Time

	mu      sync.Mutex
	out     *json.Encoder // nil: for people; guarded by mu
	outputs []*outputEvents
}

// event is one line of --json. Members that do not apply are absent. New members may be added; names and meanings stay.
type event struct {
	Event  string      `json:"event"`            // lab, net, boot, output, exit, button, end
	AtNs   int64       `json:"atNs"`             // since this process started; "lab" comes from another one than what follows it
	Detail string      `json:"detail,omitempty"` // a remark for people
	Boot   *bootPhases `json:"boot,omitempty"`
	Kernel string      `json:"kernel,omitempty"`
	CPUs   int         `json:"cpus,omitempty"`
	Memory int64       `json:"memoryBytes,omitempty"`
	Stream string      `json:"stream,omitempty"` // of output: stdout, stderr or serial
	Text   *string     `json:"text,omitempty"`   // of output, where it is UTF-8
	Base64 string      `json:"base64,omitempty"` // of output, where it is not
	Cause  string      `json:"cause,omitempty"`  // of end
	Status *int        `json:"status,omitempty"` // of exit

	Interface string `json:"interface,omitempty"` // of net: the host's
	MAC       string `json:"mac,omitempty"`       // of net: the guest's
}

func newEvents(env *cli.Env, asJSON bool) *events {
	e := &events{stderr: env.Stderr, started: time.Now()}
	if asJSON {
		e.out = json.NewEncoder(env.Stdout)
		e.out.SetEscapeHTML(false)
	}
	return e
}

// emit writes ev if the events are for a program.
func (e *events) emit(ev event) error {
	if e.out == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.AtNs = time.Since(e.started).Nanoseconds()
	return e.out.Encode(ev)
}

// note tells of something that a user should know.
func (e *events) note(name, detail string) { e.tell(event{Event: name, Detail: detail}) }

// tell is note with more for programs to read; people get the detail.
func (e *events) tell(ev event) {
	if e.out == nil {
		fmt.Fprintf(e.stderr, "usui: run: %s\n", ev.Detail)
		return
	}
	// Nobody reads any more: the machine's own output will notice.
	_ = e.emit(ev)
}

// stream returns where a guest's output goes: w itself, or output events.
func (e *events) stream(name string, w io.Writer) io.Writer {
	if e.out == nil {
		return w
	}
	o := &outputEvents{events: e, name: name}
	e.outputs = append(e.outputs, o)
	return o
}

// flush emits what outputs hold back.
func (e *events) flush() {
	for _, o := range e.outputs {
		o.mu.Lock()
		// Nobody reads any more: there is nobody to tell.
		_ = o.flush(len(o.held))
		o.mu.Unlock()
	}
}

// Limits of an output event.
const (
	outputBytes = 4 << 10
	outputTime  = 20 * time.Millisecond // how long a line that does not end is held back
)

// outputEvents turns what is written into events, of whole lines where they come soon enough: a guest writes to its serial port byte by
// byte.
type outputEvents struct {
	events *events
	name   string

	mu    sync.Mutex
	held  []byte      // guarded by mu
	timer *time.Timer // guarded by mu; emits held
}

// Write implements io.Writer.
func (o *outputEvents) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = append(o.held, p...)
	for len(o.held) >= outputBytes {
		if err := o.flush(wholeRunes(o.held[:outputBytes])); err != nil {
			return 0, err
		}
	}
	if err := o.flush(bytes.LastIndexByte(o.held, '\n') + 1); err != nil {
		return 0, err
	}
	if len(o.held) > 0 && o.timer == nil {
		o.timer = time.AfterFunc(outputTime, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.timer = nil
			// The next Write will notice that nobody reads.
			_ = o.flush(wholeRunes(o.held))
		})
	}
	return len(p), nil
}

// wholeRunes is the length of b without the begin of a rune at its end, unless it is nothing but that.
func wholeRunes(b []byte) int {
	for back := 1; back < utf8.UTFMax && back < len(b); back++ {
		if c := b[len(b)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-back:]) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}

// flush emits the first n bytes that are held. The caller holds mu.
func (o *outputEvents) flush(n int) error {
	if n == 0 {
		return nil
	}
	ev := event{Event: "output", Stream: o.name}
	if utf8.Valid(o.held[:n]) {
		text := string(o.held[:n])
		ev.Text = &text
	} else {
		ev.Base64 = base64.StdEncoding.EncodeToString(o.held[:n])
	}
	o.held = append(o.held[:0], o.held[n:]...)
	return o.events.emit(ev)
}

// exited tells of a command's exit status.
func (e *events) exited(status int) {
	// Output that nobody reads was noticed before.
	_ = e.emit(event{Event: "exit", Status: &status})
}

// ended tells why a machine ended.
func (e *events) ended(cause vmm.Cause, err error) {
	e.flush()
	ev := event{Event: "end", Cause: cause.String()}
	if err != nil {
		ev.Cause, ev.Detail = "error", err.Error()
	}
	_ = e.emit(ev) // as above
}
