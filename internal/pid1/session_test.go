package pid1_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/pid1/wire"
)

// bulk is the amount of binary data that goes through the streams.
const bulk = 16 << 20

func TestExitStatusAndStreams(t *testing.T) {
	tests := []struct {
		name           string
		cmd            attach.Command
		status         int
		stdout, stderr string
	}{
		{"success", sh("exit 0"), 0, "", ""},
		{"status and both streams", sh("echo out; echo err >&2; exit 7"), 7, "out\n", "err\n"},
		{"signal", sh("kill -TERM $$"), 143, "", ""},
		{"stdin", sh("cat"), 0, "typed", ""},
		{"directory", attach.Command{Argv: []string{"pwd"}, Dir: "/usr"}, 0, "/usr\n", ""},
		{"default environment", sh("unset PWD; echo $PATH $HOME"), 0, "/usr/bin:/bin /root\n", ""},
		{"bytes that are no UTF-8", attach.Command{Argv: []string{"printf", "%s", "\xff\xfe\x01"}}, 0, "\xff\xfe\x01", ""},
		{"not found in PATH", attach.Command{Argv: []string{"no-such-program"}}, 127, "", "usui-init: no-such-program: command not found\n"},
		{"not found", attach.Command{Argv: []string{"/no/such"}}, 127, "", "usui-init: /no/such: no such file or directory\n"},
		{"not executable", attach.Command{Argv: []string{"/etc/passwd"}}, 126, "", "usui-init: /etc/passwd: permission denied\n"},
		{"directory as program", attach.Command{Argv: []string{"./bin"}, Dir: "/usr"}, 126, "", "usui-init: ./bin: is a directory\n"},
		{"no directory", attach.Command{Argv: []string{"true"}, Dir: "/no/such"}, 126, "", "usui-init: true: working directory: stat /no/such: no such file or directory\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, tt.cmd, attach.Stdio{Stdin: strings.NewReader("typed")})
			if r.err != nil || r.status != tt.status || r.stdout != tt.stdout || r.stderr != tt.stderr {
				t.Errorf("Run(%q) = %+v, want %d, %q, %q", tt.cmd.Argv, r, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestPathFindsWhatAShellWouldFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, perm os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), perm); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("1/tool", "#!/bin/sh\necho wrong", 0o644)
	write("2/tool", "#!/bin/sh\necho right", 0o755)
	write("2/broken", "#!/no/such/interpreter\n", 0o755)
	tests := []struct {
		path, name string
		status     int
		stdout     string
	}{
		{dir + "/1:" + dir + "/2", "tool", 0, "right\n"},
		{dir + "/1", "tool", 126, ""},
		{dir + "/none:" + dir + "/2/tool", "tool", 127, ""},
		{dir + "/2", "broken", 127, ""},
	}
	for _, tt := range tests {
		r := run(t, attach.Command{Argv: []string{tt.name}, Env: []string{"PATH=" + tt.path}}, attach.Stdio{})
		if r.err != nil || r.status != tt.status || r.stdout != tt.stdout {
			t.Errorf("Run(%s) with PATH=%s = %+v, want %d, %q", tt.name, tt.path, r, tt.status, tt.stdout)
		}
	}
}

// noise is binary data that is the same in each run.
func noise(n int) []byte {
	b := make([]byte, n)
	// It never fails.
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestBulkPassesUnchanged(t *testing.T) {
	data := noise(bulk)
	var back bytes.Buffer
	r := run(t, sh("cat; echo end >&2"), attach.Stdio{Stdin: bytes.NewReader(data), Stdout: &back})
	if r.err != nil || r.status != 0 || r.stderr != "end\n" {
		t.Fatalf("Run(cat) = %+v", r)
	}
	if sha256.Sum256(back.Bytes()) != sha256.Sum256(data) {
		t.Errorf("cat of %d bytes gave %d other bytes", len(data), back.Len())
	}
}

// gate is a writer that takes nothing until it is opened.
type gate struct {
	open <-chan struct{}
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(p)
}

// A reader that comes when the command and the last writer are gone still gets all that was written: Run compares with
// the guest's count.
func TestLateReaderGetsAll(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	go func() {
		defer close(open)
		f, err := os.Open(fifo)
		if err != nil {
			return
		}
		defer f.Close()
		// Returns when the last process that has the fifo open has ended.
		_, _ = io.Copy(io.Discard, f)
	}()
	out := &gate{open: open}
	cmd := sh(`exec 9>"$0"; (exec >/dev/null 2>&1; sleep 1000) & yes | head -c 100000; exit 12`)
	cmd.Argv = append(cmd.Argv, fifo)
	r := run(t, cmd, attach.Stdio{Stdout: out})
	if r.err != nil || r.status != 12 {
		t.Fatalf("Run = %+v, want 12", r)
	}
	if want := strings.Repeat("y\n", 50000); out.String() != want {
		t.Errorf("reader got %d bytes, want %d times yes", out.Len(), 50000)
	}
}

func TestStdinThatIsNeverReadHoldsNothing(t *testing.T) {
	endless, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	defer keep.Close()
	tests := []struct {
		name  string
		stdin io.Reader
	}{
		{"more than all buffers", bytes.NewReader(make([]byte, bulk))},
		{"open and silent", endless},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, sh("echo done; exit 3"), attach.Stdio{Stdin: tt.stdin})
			if r.err != nil || r.status != 3 || r.stdout != "done\n" {
				t.Errorf("Run = %+v, want 3, done", r)
			}
		})
	}
}

// A command that closes its standard input goes on, and so does its output.
func TestClosedStdin(t *testing.T) {
	r := run(t, sh("head -c 5; exec <&-; echo; head -c 1000000 /dev/zero | wc -c"), attach.Stdio{Stdin: bytes.NewReader(noise(bulk))})
	if r.err != nil || r.status != 0 || !strings.HasSuffix(r.stdout, "\n1000000\n") {
		t.Errorf("Run = %+v", r)
	}
}

// limited is the reader in "| head": it takes n bytes and is gone.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, unix.EPIPE
	}
	return len(p), nil
}

func TestReaderGoesAway(t *testing.T) {
	r := run(t, sh("yes; echo $? >&2; yes no >&2"), attach.Stdio{Stdout: &limited{100 << 10}, Stderr: &limited{100 << 10}})
	if r.err != nil || r.status != 141 {
		t.Errorf("Run(yes) with readers that go away = %+v, want 141 for SIGPIPE", r)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	r := run(t, sh("echo x; exit 5"), attach.Stdio{Stdout: full})
	if r.status != 5 || !errors.Is(r.err, unix.ENOSPC) {
		t.Errorf("Run onto a full disk = %+v, want 5 and ENOSPC", r)
	}
}

func TestSignals(t *testing.T) {
	// Each command says when it is ready; the signal comes then. The shells poll, for a trap waits for the end of a child.
	const loop = "echo ready; while :; do sleep 0.01; done"
	cat := attach.Command{Argv: []string{"cat"}}
	tests := []struct {
		name   string
		cmd    attach.Command
		signal os.Signal
		status int
		stdout string
	}{
		{"interrupt", cat, unix.SIGINT, 130, "ready\n"},
		{"kill", cat, unix.SIGKILL, 137, "ready\n"},
		{"quit", cat, unix.SIGQUIT, 131, "ready\n"},
		{"hangup is caught", sh("trap 'echo hup; exit 9' HUP;" + loop), unix.SIGHUP, 9, "ready\nhup\n"},
		{"window change", sh("trap 'echo winch; exit 8' WINCH;" + loop), unix.SIGWINCH, 8, "ready\nwinch\n"},
		{"process group", sh(`trap : USR1; (trap 'exit 3' USR1; ` + loop + `) & child=$!
			wait $child; status=$?; while [ $status -gt 128 ]; do wait $child; status=$?; done; exit $status`), unix.SIGUSR1, 3, "ready\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			input, keep := io.Pipe()
			defer input.Close()
			go io.WriteString(keep, "ready\n") // ends with input
			signals := make(chan os.Signal, 1)
			out := &onWrite{f: func() { signals <- tt.signal }}
			r := run(t, tt.cmd, attach.Stdio{Stdin: input, Stdout: out, Signals: signals})
			if r.err != nil || r.status != tt.status || out.String() != tt.stdout {
				t.Errorf("Run, %v = %+v %q, want %d %q", tt.signal, r, out.String(), tt.status, tt.stdout)
			}
		})
	}
}

// onWrite calls f at the first write.
type onWrite struct {
	f func()
	bytes.Buffer
}

func (w *onWrite) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		w.f()
	}
	return w.Buffer.Write(p)
}

func TestTerminal(t *testing.T) {
	sizes := make(chan attach.Winsize, 1)
	out := &onWrite{f: func() { sizes <- attach.Winsize{Rows: 50, Cols: 132} }}
	cmd := sh(`trap 'stty size; tty >&2; exit 4' WINCH; stty size; while :; do sleep 0.01; done`)
	cmd.TTY, cmd.Rows, cmd.Cols = true, 24, 80
	r := run(t, cmd, attach.Stdio{Stdout: out, Winsize: sizes})
	want := "24 80\r\n50 132\r\n/dev/pts/"
	if r.err != nil || r.status != 4 || !strings.HasPrefix(out.String(), want) || r.stderr != "" {
		t.Errorf("Run = %+v, terminal said %q, want %q and status 4", r, out.String(), want)
	}
}

// ^C is a byte like others for us; the line discipline makes SIGINT of it. No shell is asked: dash loses an interrupt that
// comes right after an echo.
func TestTerminalInterrupt(t *testing.T) {
	keys, keyboard := io.Pipe()
	defer keys.Close()
	go io.WriteString(keyboard, "x\n") // ends with keys
	out := &onWrite{f: func() { go io.WriteString(keyboard, "\x03") }}
	r := run(t, attach.Command{Argv: []string{"cat"}, TTY: true}, attach.Stdio{Stdin: keys, Stdout: out})
	if r.err != nil || r.status != 130 || !strings.HasPrefix(out.String(), "x\r\n") {
		t.Errorf("Run = %+v, terminal said %q, want 130", r, out.String())
	}
}

// The bytes of a terminal are passed on raw; ^D ends input, and so does the end of the host's stream.
func TestTerminalKeys(t *testing.T) {
	tests := []struct {
		name, script, keys string
		status             int
		stdout             string
	}{
		{"end of input", "stty -echo; echo ready; cat; echo end", "line\n\x04", 0, "ready\r\nline\r\nend\r\n"},
		{"end of stream", "stty -echo; echo ready; cat; echo end", "line\n", 0, "ready\r\nline\r\nend\r\n"},
		{"controlling terminal", "stty -echo; echo ready; read x </dev/tty; echo $x", "word\n", 0, "ready\r\nword\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, keyboard := io.Pipe()
			out := &onWrite{f: func() {
				go func() {
					_, _ = io.WriteString(keyboard, tt.keys) // ends with keys
					if tt.name == "end of stream" {
						keyboard.Close()
					}
				}()
			}}
			cmd := sh(tt.script)
			cmd.TTY = true
			r := run(t, cmd, attach.Stdio{Stdin: keys, Stdout: out})
			keys.Close()
			if r.err != nil || r.status != tt.status || out.String() != tt.stdout {
				t.Errorf("Run = %+v, terminal said %q, want %d, %q", r, out.String(), tt.status, tt.stdout)
			}
		})
	}
}

// Orphans that hold the output open are stopped, and what they wrote before arrives. The remark is made by Settle,
// which comes after the last process is gone.
func TestOrphansAreStopped(t *testing.T) {
	// The command ends when the orphan has made the file $0.
	tests := []struct{ name, script string }{
		{"gentle", `(trap 'echo bye; exit' TERM; echo hello; : >"$0"; while :; do sleep 0.01; done) & `},
		{"deaf", `(trap '' TERM; echo hello; echo bye; : >"$0"; while :; do sleep 0.01; done) & `},
		{"without output", `echo hello; echo bye; (exec >/dev/null 2>&1; setsid sleep 1000 & : >"$0"; setsid sleep 1000) & `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "deaf" {
				t.Setenv(stopVariable, "10ms")
			}
			cmd := sh(tt.script + `while [ ! -e "$0" ]; do sleep 0.01; done; exit 11`)
			cmd.Argv = append(cmd.Argv, filepath.Join(t.TempDir(), "ready"))
			r := run(t, cmd, attach.Stdio{})
			if r.err != nil || r.status != 11 || r.stdout != "hello\nbye\n" {
				t.Errorf("Run = %+v, want 11, hello, bye", r)
			}
			if want := "settled 1, children []"; len(r.log) != 2 || r.log[1] != want {
				t.Errorf("log = %q, want second %q", r.log, want)
			}
		})
	}
}

// A descendant that ends by itself soon after the command is not cut off.
func TestEndOfPipelineIsWaitedFor(t *testing.T) {
	t.Setenv(drainVariable, "1h")
	r := run(t, sh("(cat <&3; echo late) 3<&0 & exit 0"), attach.Stdio{Stdin: strings.NewReader("")})
	if r.err != nil || r.stdout != "late\n" {
		t.Errorf("Run = %+v, want late", r)
	}
}

func TestStepsComeFirstAndInOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	cmd := sh("cat " + file)
	cmd.Steps = []attach.Step{wire.Write(file, "one"), wire.Write(file, "two")}
	if r := run(t, cmd, attach.Stdio{}); r.err != nil || r.stdout != "two" {
		t.Errorf("Run = %+v, want two", r)
	}
	cmd.Steps = append(cmd.Steps, wire.Mount("9p", "host", "/newroot", "ro"), wire.Write(file, "three"))
	r := run(t, cmd, attach.Stdio{})
	want := `guest: step 3 of 4, mount 9p "host" at "/newroot": operation not permitted`
	if r.err == nil || r.err.Error() != want {
		t.Errorf("Run = %+v, want error %s", r, want)
	}
	if text, err := os.ReadFile(file); string(text) != "two" {
		t.Errorf("after a failed step the next was done: %q, %v", text, err)
	}
}

// When the host goes away, the guest lets its command end in its own way.
func TestContextEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	t.Cleanup(func() { // after the one of startAgent, which waits for the agent
		if text, err := os.ReadFile(file); string(text) != "bye\n" {
			t.Errorf("the handler of SIGTERM wrote %q, %v", text, err)
		}
	})
	cause := errors.New("time is up")
	ctx, cancel := context.WithCancelCause(context.Background())
	cmd := sh(`trap 'echo last words >&2; echo bye >"$0"; exit' TERM; echo x; while :; do sleep 0.01; done`)
	cmd.Argv = append(cmd.Argv, file)
	status, err := attach.Run(ctx, startAgent(t), cmd, attach.Stdio{
		Stdout: &onWrite{f: func() { cancel(cause) }},
	})
	if status != -1 || err != cause {
		t.Errorf("Run = %d, %v, want -1, %v", status, err, cause)
	}
}

// A process of the guest asks for the end, as poweroff does.
func TestEndFromInside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	t.Cleanup(func() {
		if text, err := os.ReadFile(file); string(text) != "bye\n" {
			t.Errorf("the handler of SIGTERM wrote %q, %v", text, err)
		}
	})
	cmd := sh(`trap 'echo bye >"$0"; exit' TERM; kill -USR2 $PPID; while :; do sleep 0.01; done`)
	cmd.Argv = append(cmd.Argv, file)
	status, err := attach.Run(context.Background(), startAgentThat(t, agentError), cmd, attach.Stdio{})
	if status != -1 || !errors.Is(err, attach.ErrEnded) {
		t.Errorf("Run = %d, %v, want -1, %v", status, err, attach.ErrEnded)
	}
}
