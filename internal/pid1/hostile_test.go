package pid1_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/pid1/wire"
)

// host speaks to an agent without attach, so that it can misbehave.
type host struct {
	*testing.T
	conns   attach.Conns
	reports *wire.ReportReader
}

// greet starts an agent and reads its hello and its remark.
func greet(t *testing.T) host {
	t.Helper()
	return greetAgent(t, startAgent(t))
}

func greetAgent(t *testing.T, conns attach.Conns) host {
	t.Helper()
	h := host{t, conns, wire.NewReportReader(conns.Control)}
	if m := h.next(); m.Hello == nil || m.Hello.Protocol != wire.Protocol {
		t.Fatalf("first message is %+v, want hello", m)
	}
	if m := h.next(); m.Log == nil || m.Log.Message != "first remark" {
		t.Fatalf("second message is %+v, want the remark", m)
	}
	return h
}

func (h host) next() wire.Report {
	h.Helper()
	m, err := h.reports.Next()
	if err != nil {
		h.Fatal(err)
	}
	return m
}

func (h host) say(m wire.Request) {
	h.Helper()
	if err := wire.WriteRequest(h.conns.Control, m); err != nil {
		h.Fatal(err)
	}
}

// start runs the shell script and reads the answer.
func (h host) start(script string) {
	h.Helper()
	cmd := sh(script)
	h.say(wire.Request{Run: &cmd})
	if m := h.next(); m.Started == nil {
		h.Fatalf("answer to run is %+v, want started", m)
	}
}

// awaitLog reads reports until the log says want.
func (h host) awaitLog(want string) {
	h.Helper()
	if m := h.next(); m.Log == nil || !strings.Contains(m.Log.Message, want) {
		h.Errorf("report %+v, want a log with %q", m, want)
	}
}

// awaitEnd reads until the agent closes the control port.
func (h host) awaitEnd() {
	h.Helper()
	for {
		m, err := h.reports.Next()
		// A reset: the agent closed before it had read all.
		if err == io.EOF || errors.Is(err, unix.ECONNRESET) {
			return
		}
		if err != nil || m.Exit != nil {
			h.Fatalf("report %+v, %v, want the end", m, err)
		}
	}
}

// After a message that is none the agent trusts nothing more: it stops its command and ends.
func TestHostTalksNonsense(t *testing.T) {
	tests := []struct{ name, line string }{
		{"no JSON", "hello"},
		{"no object", "[1]"},
		{"nothing", "{}"},
		{"two members", `{"poweroff":{},"signal":{"name":"SIGINT"}}`},
		{"unknown member", `{"reboot":{}}`},
		{"a report", `{"exit":{"status":0}}`},
		{"negative count", `{"stdinEOF":{"bytes":-1}}`},
		{"huge count", `{"stdinEOF":{"bytes":9223372036854775808}}`},
		{"unknown stream", `{"close":{"stream":"stdin"}}`},
		{"deep", strings.Repeat(`{"run":`, 20000)},
		{"endless", strings.Repeat("x", wire.MaxRequest)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := greetAgent(t, startAgentThat(t, agentError))
			h.start("while :; do sleep 0.01; done")
			go io.WriteString(h.conns.Control, tt.line+"\n") // the agent may close before it has read all
			h.awaitEnd()
		})
	}
}

func TestRunThatCannotBe(t *testing.T) {
	for _, line := range []string{
		`{"run":{"argv":[]}}`, `{"run":{"argv":[""]}}`, `{"run":{"argv":["AA=="]}}`, `{"run":{"argv":["%%"]}}`,
		`{"run":{"argv":["YQ=="],"env":["AA=="]}}`, `{"run":{"argv":["YQ=="],"rows":70000}}`,
		`{"run":{"argv":["YQ=="],"dir":"\u0000"}}`, `{"run":{"argv":["YQ=="],"steps":[{"do":"mount","target":"\u0000"}]}}`,
		`{"run":{"argv":["YQ=="],"steps":[` + strings.Repeat(`{},`, 2000) + `{}]}}`,
	} {
		h := greetAgent(t, startAgentThat(t, agentError))
		if _, err := io.WriteString(h.conns.Control, line+"\n"); err != nil {
			t.Fatal(err)
		}
		h.awaitEnd()
	}
}

func TestSecondRunIsRefused(t *testing.T) {
	h := greet(t)
	h.start("cat")
	second := sh("exit 1")
	h.say(wire.Request{Run: &second})
	if m := h.next(); m.Error == nil || !strings.Contains(m.Error.Message, "refused") {
		t.Errorf("answer to the second run is %+v, want a refusal", m)
	}
	h.say(wire.Request{StdinEOF: &wire.StdinEOF{}})
	h.awaitLog("settled")
	if m := h.next(); m.Exit == nil || m.Exit.Status != 0 {
		t.Errorf("last report is %+v, want the exit of the first run", m)
	}
}

func TestSmallMistakesAreLogged(t *testing.T) {
	t.Setenv(stopVariable, "10ms") // the command stops itself, and does not take SIGTERM then
	h := greet(t)
	h.start("read x; kill -STOP $$; cat")
	h.say(wire.Request{Signal: &wire.Signal{Name: "SIGNONSENSE"}})
	h.awaitLog("SIGNONSENSE")
	if _, err := io.WriteString(h.conns.Stdin, "12345\n"); err != nil {
		t.Fatal(err)
	}
	h.say(wire.Request{StdinEOF: &wire.StdinEOF{Bytes: 100}})
	h.say(wire.Request{StdinEOF: &wire.StdinEOF{Bytes: 6}})
	h.awaitLog("stdin ends after 6 bytes")
	h.say(wire.Request{Winsize: &wire.Winsize{Rows: 1, Cols: 1}}) // without a terminal: nothing
	h.say(wire.Request{Close: &wire.Close{Stream: wire.Stderr}})
	h.say(wire.Request{Close: &wire.Close{Stream: wire.Stderr}}) // twice: nothing
	h.say(wire.Request{Poweroff: &wire.Poweroff{}})
	h.awaitEnd()
}

// The port's end before the announced count must not hang the command, and bytes beyond the count do not reach it.
func TestStdinEndsByCount(t *testing.T) {
	h := greet(t)
	h.start("cat")
	if _, err := io.WriteString(h.conns.Stdin, "first"); err != nil {
		t.Fatal(err)
	}
	var got [5]byte
	if _, err := io.ReadFull(h.conns.Stdout, got[:]); err != nil || string(got[:]) != "first" {
		t.Fatalf("stdout gave %q, %v", got, err)
	}
	h.say(wire.Request{StdinEOF: &wire.StdinEOF{Bytes: 8}})
	if _, err := io.WriteString(h.conns.Stdin, "end"); err != nil {
		t.Fatal(err)
	}
	h.awaitLog("settled")
	if m := h.next(); m.Exit == nil || m.Exit.StdoutBytes != 8 {
		t.Errorf("last report is %+v, want exit after 8 bytes", m)
	}
}

// A host that has not read its output yet keeps the guest alive by keeping the control port open.
func TestGuestWaitsForPoweroff(t *testing.T) {
	h := greet(t)
	h.start("echo x")
	h.awaitLog("settled")
	if m := h.next(); m.Exit == nil || m.Exit.StdoutBytes != 2 {
		t.Fatalf("report is %+v, want exit after 2 bytes", m)
	}
	var out bytes.Buffer
	if _, err := io.CopyN(&out, h.conns.Stdout, 2); err != nil || out.String() != "x\n" {
		t.Errorf("stdout gave %q, %v", out.String(), err)
	}
	h.say(wire.Request{Poweroff: &wire.Poweroff{}})
	h.awaitEnd()
}

func TestHostIsGone(t *testing.T) {
	for _, script := range []string{"cat", "trap '' TERM; yes", "yes >&2"} {
		t.Run(script, func(t *testing.T) {
			t.Setenv(stopVariable, "10ms")
			h := greet(t)
			h.start(script)
			if err := h.conns.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			// startAgent's cleanup waits for the agent.
		})
	}
}
