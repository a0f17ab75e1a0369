package main

import (
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

	mu  sync.Mutex
	out *json.Encoder // nil: for people; guarded by mu
}

// event is one line of --json. Members that do not apply are absent. New members may be added; names and meanings stay.
type event struct {
	Event  string      `json:"event"`            // lab, boot, command, output, exit, end
	AtNs   int64       `json:"atNs"`             // since the command started
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
func (e *events) note(name, detail string) {
	if e.out == nil {
		fmt.Fprintf(e.stderr, "usui: run: %s\n", detail)
		return
	}
	// Nobody reads any more: the machine's own output will notice.
	_ = e.emit(event{Event: name, Detail: detail})
}

// stream returns where a guest's output goes: w itself, or output events.
func (e *events) stream(name string, w io.Writer) io.Writer {
	if e.out == nil {
		return w
	}
	return outputEvents{e, name}
}

// outputEvents turns each write into an event.
type outputEvents struct {
	events *events
	name   string
}

// Write implements io.Writer.
func (o outputEvents) Write(p []byte) (int, error) {
	ev := event{Event: "output", Stream: o.name}
	if utf8.Valid(p) {
		text := string(p)
		ev.Text = &text
	} else {
		ev.Base64 = base64.StdEncoding.EncodeToString(p)
	}
	if err := o.events.emit(ev); err != nil {
		return 0, err
	}
	return len(p), nil
}

// exited tells of a command's exit status.
func (e *events) exited(status int) {
	// Output that nobody reads was noticed before.
	_ = e.emit(event{Event: "exit", Status: &status})
}

// ended tells why a machine ended.
func (e *events) ended(cause vmm.Cause, err error) {
	ev := event{Event: "end", Cause: cause.String()}
	if err != nil {
		ev.Cause, ev.Detail = "error", err.Error()
	}
	_ = e.emit(ev) // as above
}
