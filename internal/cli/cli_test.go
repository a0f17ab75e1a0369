package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// said is what one call of the program did.
type said struct {
	Status      int
	Out, Err    string
	Args, Disks []string
	CPUs        int
}

// call runs a program of one real command, "run", and some that fail in their own ways.
func call(t *testing.T, args ...string) said {
	t.Helper()
	var out, errs bytes.Buffer
	var s said
	run := func(f *flag.FlagSet) Run {
		cpus := f.Int("cpus", 1, "`number` of virtual CPUs")
		f.Func("disk", "image `FILE` to attach, with a text that is long enough to need a second line of help", func(v string) error {
			if v == "bad" {
				return errors.New("no such disk")
			}
			s.Disks = append(s.Disks, v)
			return nil
		})
		f.Duration("limit", 0, "time limit")
		f.Bool("quiet", false, "print nothing")
		f.Bool("v", false, "print more")
		return func(_ context.Context, _ *Env, args []string) error {
			s.Args, s.CPUs = args, *cpus
			return nil
		}
	}
	fails := func(err error) func(*flag.FlagSet) Run {
		return func(*flag.FlagSet) Run {
			return func(context.Context, *Env, []string) error { return err }
		}
	}
	s.Status = execute(t.Context(), &Env{strings.NewReader(""), &out, &errs}, "prog", "prog does things.", []Command{
		{Name: "run", Usage: "[flags] [-- command]", Short: "boot a kernel", Long: "Boots, and wraps a paragraph that its author wrote in one line of\nmore than eighty letters.\n\n  prog run -- id      runs one command, and this line stays as long as it was written by its author\n\nEnds.", Setup: run},
		{Name: "fail", Short: "fail", Setup: fails(errors.New("read it:\nline two\x1b[31m"))},
		{Name: "seven", Short: "exit with 7", Setup: fails(fmt.Errorf("wrapped: %w", ExitStatus(7)))},
		{Name: "wrong", Short: "be called wrongly", Setup: fails(UsageError("memory %q: not a size", "x"))},
		{Name: "secret", Short: "not be listed", Hidden: true, Setup: fails(nil)},
		{Name: "make", Short: "have flags behind arguments", Hidden: true, FlagsBehind: true, Setup: run},
		{Name: "version", Short: "print the version", Setup: func(*flag.FlagSet) Run {
			return func(_ context.Context, env *Env, _ []string) error {
				_, err := fmt.Fprintln(env.Stdout, "prog 1")
				return err
			}
		}},
	}, args)
	s.Out, s.Err = out.String(), errs.String()
	return s
}

func TestFlagsEndAtTheFirstArgument(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want said
	}{
		{[]string{"run"}, said{CPUs: 1}},
		{[]string{"run", "--cpus", "2", "uname", "--cpus", "3"}, said{CPUs: 2, Args: []string{"uname", "--cpus", "3"}}},
		{[]string{"run", "--cpus=2", "--", "--version"}, said{CPUs: 2, Args: []string{"--version"}}},
		{[]string{"run", "--", "sh", "-c", "exit 7"}, said{CPUs: 1, Args: []string{"sh", "-c", "exit 7"}}},
		{[]string{"run", "--", "run", "--", "x"}, said{CPUs: 1, Args: []string{"run", "--", "x"}}},
		{[]string{"run", "--disk", "a", "--disk=b,ro", "-v"}, said{CPUs: 1, Disks: []string{"a", "b,ro"}}},
		{[]string{"run", "help"}, said{CPUs: 1, Args: []string{"help"}}},
		{[]string{"make", "a", "--cpus", "3", "b"}, said{CPUs: 3, Args: []string{"a", "b"}}},
		{[]string{"make", "a", "--", "--cpus", "3"}, said{CPUs: 1, Args: []string{"a", "--cpus", "3"}}},
	} {
		got := call(t, tt.args...)
		if len(got.Args) == 0 {
			got.Args = nil
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("prog %s (-want +got):\n%s", strings.Join(tt.args, " "), diff)
		}
	}
}

func TestErrorsAreOneLineWithWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		call   string
		status int
		want   string
	}{
		{"", 2, `prog: no command given (see "prog help")`},
		{"rnu", 2, `prog: unknown command "rnu"; did you mean "run"? (see "prog help")`},
		{"zzz", 2, `prog: unknown command "zzz" (see "prog help")`},
		{"-- run", 2, `prog: "run" comes before flags and -- (see "prog help")`},
		{"--nope run", 2, `prog: unknown flag --nope (see "prog help")`},
		{"--nope", 2, `prog: unknown flag --nope (see "prog help")`},
		{"run --cpu 2", 2, `prog: run: unknown flag --cpu; did you mean --cpus? (see "prog help run")`},
		{"run -cpus 2", 2, `prog: run: unknown flag -c; did you mean --cpus? (see "prog help run")`},
		{"run -x", 2, `prog: run: unknown flag -x (see "prog help run")`},
		{"run --cpus", 2, `prog: run: flag --cpus needs a value (see "prog help run")`},
		{"run --cpus two", 2, `prog: run: flag --cpus "two": not a whole number (see "prog help run")`},
		{"run --cpus 99999999999999999999", 2, `prog: run: flag --cpus "99999999999999999999": value out of range (see "prog help run")`},
		{"run --limit 5", 2, `prog: run: flag --limit "5": not a duration such as 30s or 2m (see "prog help run")`},
		{"run --quiet=x", 2, `prog: run: flag --quiet "x": neither true nor false (see "prog help run")`},
		{"run --disk bad", 2, `prog: run: flag --disk "bad": no such disk (see "prog help run")`},
		{"wrong", 2, `prog: wrong: memory "x": not a size (see "prog help wrong")`},
		{"make a --cpu 2", 2, `prog: make: unknown flag --cpu; did you mean --cpus? (see "prog help make")`},
		{"fail", 1, `prog: fail: read it:; line two?[31m`},
		{"help nope", 2, `prog: unknown command "nope" (see "prog help")`},
		{"help runn", 2, `prog: unknown command "runn"; did you mean "run"? (see "prog help")`},
		{"help run fail", 2, `prog: help takes one name, not 2 (see "prog help")`},
	} {
		got := call(t, strings.Fields(tt.call)...)
		if got.Status != tt.status || got.Err != tt.want+"\n" || got.Out != "" {
			t.Errorf("prog %s: status %d, stderr %q, stdout %q; want status %d, stderr %q", tt.call, got.Status, got.Err, got.Out, tt.status, tt.want+"\n")
		}
	}
	if got := call(t, "seven"); got.Status != 7 || got.Err != "" {
		t.Errorf("prog seven: status %d, stderr %q; want 7 and nothing", got.Status, got.Err)
	}
}

func TestHelpTeaches(t *testing.T) {
	const overview = `prog does things.

usage: prog COMMAND [flags] [argument...]

commands:
  run         boot a kernel
  fail        fail
  seven       exit with 7
  wrong       be called wrongly
  version     print the version
  help        explain a command
  completion  print a completion script for bash, zsh, fish or powershell

"prog help NAME" explains a command and its flags.
`
	const ofRun = `prog run: boot a kernel

usage: prog run [flags] [-- command]

Boots, and wraps a paragraph that its author wrote in one line of more than
eighty letters.

  prog run -- id      runs one command, and this line stays as long as it was written by its author

Ends.

flags:
  --cpus number     number of virtual CPUs (default 1)
  --disk FILE       image FILE to attach, with a text that is long enough to
                    need a second line of help
  --limit duration  time limit
  --quiet           print nothing
  -v                print more
  -h, --help        show this text
`
	for call_, want := range map[string]string{
		"help": overview, "--help": overview, "-h": overview, "help help": overview, "help --help": overview,
		"help run": ofRun, "run --help": ofRun, "run -h": ofRun, "run --cpus 3 --help": ofRun,
	} {
		got := call(t, strings.Fields(call_)...)
		if diff := cmp.Diff(said{Out: want}, said{Status: got.Status, Out: got.Out, Err: got.Err}); diff != "" {
			t.Errorf("prog %s (-want +got):\n%s", call_, diff)
		}
	}
	for _, c := range []string{"completion --help", "completion bash --help", "help completion", "help secret"} {
		if got := call(t, strings.Fields(c)...); got.Status != 0 || !strings.Contains(got.Out, "usage: prog") {
			t.Errorf("prog %s: status %d, stdout %q, stderr %q; want help", c, got.Status, got.Out, got.Err)
		}
	}
}

func TestCompletionKnowsCommandsAndFlags(t *testing.T) {
	for call_, want := range map[string]string{"__complete r": "run\tboot a kernel", "__complete run --c": "--cpus\t", "__complete help v": "version"} {
		if got := call(t, strings.Fields(call_)...); !strings.Contains(got.Out, want) {
			t.Errorf("prog %s = %q, want it to hold %q", call_, got.Out, want)
		}
	}
	if got := call(t, "completion", "bash"); got.Status != 0 || !strings.Contains(got.Out, "__start_prog") {
		t.Errorf("prog completion bash: status %d, %d bytes, %q; want a script", got.Status, len(got.Out), got.Err)
	}
}

func TestVersionFlagIsTheCommand(t *testing.T) {
	if got := call(t, "--version"); got.Out != "prog 1\n" || got.Status != 0 {
		t.Errorf("prog --version: status %d, %q, want the version", got.Status, got.Out)
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"run", "run", 0}, {"rnu", "run", 1}, {"ru", "run", 1}, {"runs", "run", 1}, {"tun", "run", 1}, {"doctro", "doctor", 1}, {"lab", "run", 3}, {"", "ab", 2}} {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("edits(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestMain lets this binary be the program that a signal is sent to, and the service that is started.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("CLI_TEST_WAIT") != "":
		os.Exit(Main("prog", "waits.", []Command{{Name: "wait", Short: "wait", Setup: func(*flag.FlagSet) Run {
			return func(ctx context.Context, env *Env, args []string) error {
				fmt.Fprintln(env.Stdout, "waiting")
				<-ctx.Done()
				if len(args) > 0 {
					fmt.Fprintln(env.Stdout, "deaf")
					select {} // only the signal's default action ends this
				}
				return ctx.Err()
			}
		}}}))
	case filepath.Base(os.Args[0]) == "prog-svc":
		fmt.Printf("%q\n", os.Args[1:])
		os.Exit(3)
	case os.Getenv("CLI_TEST_SERVICE") != "":
		commands := servicesIn(os.Getenv("CLI_TEST_SERVICE"), "prog", []Service{{"svc", "serve"}, {"absent", "not be there"}})
		os.Exit(Main("prog", "starts.", commands))
	}
	os.Exit(m.Run())
}

func TestServiceGetsItsArgumentsUntouched(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "prog-svc")); err != nil {
		t.Fatal(err)
	}
	for call_, want := range map[string]string{
		"svc --flag=1 -- x --help": "[\"--flag=1\" \"--\" \"x\" \"--help\"]\n",
		"help svc":                 "[\"--help\"]\n",
	} {
		c := exec.Command(self, strings.Fields(call_)...)
		c.Env = append(os.Environ(), "CLI_TEST_SERVICE="+dir)
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != want {
			t.Errorf("prog %s: %v, output %q; want status 3 and %q", call_, err, out, want)
		}
	}
	c := exec.Command(self, "help")
	c.Env = append(os.Environ(), "CLI_TEST_SERVICE="+dir)
	if out, err := c.Output(); err != nil || !strings.Contains(string(out), "svc ") || strings.Contains(string(out), "absent") {
		t.Errorf("prog help: %v, %q; want svc listed, absent not", err, out)
	}
}

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c, line := startWaiting(t)
		line(t, "waiting")
		c.Process.Signal(sig)
		if err := c.Wait(); c.ProcessState.ExitCode() != 128+int(sig) {
			t.Errorf("after %v: %v, want exit status %d", sig, err, 128+int(sig))
		}
	}
	c, line := startWaiting(t, "deaf")
	line(t, "waiting")
	c.Process.Signal(syscall.SIGINT)
	line(t, "deaf")
	c.Process.Signal(syscall.SIGINT)
	c.Wait()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGINT {
		t.Errorf("after a second SIGINT: %v, want the signal's default action", c.ProcessState)
	}
}

// startWaiting starts the program and returns it with a function that waits for its next line.
func startWaiting(t *testing.T, args ...string) (*exec.Cmd, func(*testing.T, string)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self, append([]string{"wait"}, args...)...)
	c.Env = append(os.Environ(), "CLI_TEST_WAIT=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, func(t *testing.T, want string) {
		t.Helper()
		line := make([]byte, len(want)+1)
		if n, err := out.Read(line); string(line[:n]) != want+"\n" {
			t.Fatalf("program said %q, %v; want %q", line[:n], err, want)
		}
	}
}
