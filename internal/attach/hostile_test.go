package attach_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/pid1/wire"
)

// hello is a good first report.
const hello = `{"hello":{"protocol":1}}` + "\n"

// guest is the other side of a Run. Its parts write to the ports what they like.
type guest struct {
	control, stdin, stdout, stderr net.Conn
}

// newGuest returns connections without any buffer: each Write waits for its Read.
func newGuest() (attach.Conns, guest) {
	var host [4]net.Conn
	var far [4]net.Conn
	for i := range host {
		host[i], far[i] = net.Pipe()
	}
	return attach.Conns{Control: host[0], Stdin: host[1], Stdout: host[2], Stderr: host[3]}, guest{far[0], far[1], far[2], far[3]}
}

func (g guest) close() {
	for _, c := range []net.Conn{g.control, g.stdin, g.stdout, g.stderr} {
		c.Close()
	}
}

// play runs attach against a guest that is f, and waits for both.
func play(ctx context.Context, stdio attach.Stdio, f func(g guest)) (int, error) {
	conns, g := newGuest()
	var side sync.WaitGroup
	side.Go(func() {
		defer g.close()
		f(g)
	})
	defer side.Wait()
	return attach.Run(ctx, conns, attach.Command{Argv: []string{"x"}}, stdio)
}

// say writes to the control port and, unlike a good guest, does not listen.
func (g guest) say(text string) { _, _ = io.WriteString(g.control, text) }

// ignore reads and drops what the host asks.
func (g guest) ignore() { _, _ = io.Copy(io.Discard, g.control) }

func TestGuestTalksNonsense(t *testing.T) {
	tests := []struct{ name, talk, want string }{
		{"nothing", "", "the machine ended before the command did"},
		{"half a line", `{"hello"`, "the machine ended before the command did"},
		{"no JSON", "login:\n", "control port: decode message"},
		{"endless line", strings.Repeat("x", wire.MaxReport+1), "control port: message longer than 65536 bytes"},
		{"started first", `{"started":{"pid":1}}` + "\n", "first message is no hello"},
		{"old init", `{"hello":{"protocol":0}}` + "\n", "speaks protocol 0, want 1"},
		{"request", `{"poweroff":{}}` + "\n", "control port: decode message"},
		{"end after hello", hello, "the machine ended before the command did"},
		{"two hellos", hello + hello, "second hello"},
		{"error", hello + `{"error":{"message":"step 1\u001b"}}` + "\n", "guest: step 1\ufffd"},
		{"status out of range", hello + `{"exit":{"status":1000}}` + "\n", "exit status 1000 out of range"},
		{"output that never comes", hello + `{"exit":{"stdoutBytes":5}}` + "\n", "stdout ended after 0 of 5 bytes: the machine ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, err := play(context.Background(), attach.Stdio{}, func(g guest) {
				listening := make(chan struct{})
				go func() {
					defer close(listening)
					g.ignore()
				}()
				g.say(tt.talk)
				g.close()
				<-listening
			})
			if status != -1 || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run = %d, %v, want -1, %s", status, err, tt.want)
			}
		})
	}
}

func TestMoreOutputThanAnnounced(t *testing.T) {
	_, err := play(context.Background(), attach.Stdio{Stdout: io.Discard}, func(g guest) {
		go g.ignore()
		g.say(hello)
		_, _ = io.WriteString(g.stdout, "more than that")
		g.say(`{"exit":{"stdoutBytes":2}}` + "\n")
		g.ignore()
	})
	if err == nil || !strings.Contains(err.Error(), "14 bytes, 2 were announced") {
		t.Errorf("Run = %v", err)
	}
}

// Messages may come in any order and number.
func TestStrayMessages(t *testing.T) {
	var out bytes.Buffer
	status, err := play(context.Background(), attach.Stdio{Stdout: &out}, func(g guest) {
		go g.ignore()
		g.say(hello + `{"started":{"pid":1}}` + "\n" + `{"started":{"pid":2}}` + "\n" + strings.Repeat(`{"log":{"message":"x"}}`+"\n", 1000))
		g.say(`{"exit":{"status":9,"stdoutBytes":4}}` + "\n")
		_, _ = io.WriteString(g.stdout, "late")
		g.ignore()
	})
	if status != 9 || err != nil || out.String() != "late" {
		t.Errorf("Run = %d, %v, %q, want 9, late", status, err, out.String())
	}
}

func TestErrEnded(t *testing.T) {
	_, err := play(context.Background(), attach.Stdio{}, func(g guest) { g.say(hello) })
	if !errors.Is(err, attach.ErrEnded) {
		t.Errorf("Run = %v, want ErrEnded", err)
	}
}

// A guest that takes nothing holds no one: neither the run request, nor signals, nor stdin.
func TestContextEndsDespiteDeafGuest(t *testing.T) {
	cause := errors.New("enough")
	for _, talk := range []string{"", hello, hello + `{"exit":{"stdoutBytes":1}}` + "\n"} {
		ctx, cancel := context.WithCancelCause(context.Background())
		signals := make(chan os.Signal, 1)
		status, err := play(ctx, attach.Stdio{Stdin: bytes.NewReader(make([]byte, 1<<20)), Signals: signals}, func(g guest) {
			g.say(talk)
			cancel(cause)
			_, _ = io.Copy(io.Discard, g.stderr) // ends when Run closes its side
		})
		if status != -1 || err != cause {
			t.Errorf("after %q: Run = %d, %v, want -1, %v", talk, status, err, cause)
		}
	}
}

// stuck is a writer that takes nothing until it is released.
type stuck struct{ entered, release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	close(s.entered)
	<-s.release
	return len(p), nil
}

func TestContextEndsDespiteStuckWriter(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	out := stuck{make(chan struct{}), make(chan struct{})}
	defer close(out.release)
	status, err := play(ctx, attach.Stdio{Stdout: out}, func(g guest) {
		go g.ignore()
		g.say(hello)
		_, _ = io.WriteString(g.stdout, "x")
		g.say(`{"exit":{"stdoutBytes":1}}` + "\n")
		<-out.entered
		cancel(cause)
	})
	if status != -1 || err != cause {
		t.Errorf("Run = %d, %v, want -1, %v", status, err, cause)
	}
}

func TestBadCommand(t *testing.T) {
	for _, cmd := range []attach.Command{{}, {Argv: []string{"a\x00"}}, {Argv: []string{"a"}, Dir: "\x00"}} {
		conns, g := newGuest()
		if status, err := attach.Run(context.Background(), conns, cmd, attach.Stdio{}); status != -1 || err == nil {
			t.Errorf("Run(%q) = %d, %v, want an error", cmd.Argv, status, err)
		}
		if _, err := g.control.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("guest read %v, want the end", err)
		}
	}
}

func TestSignalBeforeTheCommand(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- unix.SIGWINCH
	signals <- unix.SIGINT
	status, err := play(context.Background(), attach.Stdio{Signals: signals}, func(g guest) { g.ignore() })
	if status != 130 || err != nil {
		t.Errorf("Run = %d, %v, want 130", status, err)
	}
}

// The size that the terminal has when the command starts is the one that counts.
func TestWindowSizeBeforeTheCommand(t *testing.T) {
	sizes := make(chan attach.Winsize)
	var got wire.Request
	_, err := play(context.Background(), attach.Stdio{Winsize: sizes}, func(g guest) {
		sizes <- attach.Winsize{Rows: 5, Cols: 6}
		go g.say(hello)
		got, _ = wire.NewRequestReader(g.control).Next()
	})
	if !errors.Is(err, attach.ErrEnded) || got.Run == nil || got.Run.Rows != 5 || got.Run.Cols != 6 {
		t.Errorf("Run = %v, guest was asked %+v, want 5 rows, 6 columns", err, got.Run)
	}
}

// A Read of the caller's stdin that nobody ends: a terminal at which nobody types.
func TestBlockedStdin(t *testing.T) {
	before := runtime.NumGoroutine()
	silent, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer keyboard.Close()
	status, err := play(context.Background(), attach.Stdio{Stdin: silent}, func(g guest) {
		go g.ignore()
		g.say(hello + `{"exit":{"status":4}}` + "\n")
		g.ignore()
	})
	if status != 4 || err != nil {
		t.Errorf("Run = %d, %v, want 4", status, err)
	}
	// No goroutine of Run reads the pipe any more: what comes now is for the caller.
	if _, err := keyboard.WriteString("key"); err != nil {
		t.Fatal(err)
	}
	var key [3]byte
	if _, err := io.ReadFull(silent, key[:]); err != nil || string(key[:]) != "key" {
		t.Errorf("caller read %q, %v, want its key", key, err)
	}
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched() // os/signal's own goroutine and the guest's are on their way out
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// What the guest says about its stdin's end does not hold the bytes of a caller that waits.
func TestStdinEndIsTold(t *testing.T) {
	var got []byte
	var end wire.Request
	status, err := play(context.Background(), attach.Stdio{Stdin: strings.NewReader("four")}, func(g guest) {
		requests := wire.NewRequestReader(g.control)
		go g.say(hello)
		if m, _ := requests.Next(); m.Run == nil {
			return
		}
		got = make([]byte, 4)
		_, _ = io.ReadFull(g.stdin, got)
		end, _ = requests.Next()
		go g.say(`{"exit":{}}` + "\n")
		_, _ = requests.Next()
	})
	if status != 0 || err != nil || string(got) != "four" || end.StdinEOF == nil || end.StdinEOF.Bytes != 4 {
		t.Errorf("Run = %d, %v; guest got %q, %+v, want four and its end", status, err, got, end)
	}
}
