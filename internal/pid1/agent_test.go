package pid1_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/attach"
	"usui/internal/pid1"
	"usui/internal/pid1/wire"
)

// agentError is the exit status of an agent whose session ended with an error.
const agentError = 3

// agentVariable in the environment makes the test binary a guest's init without a guest: an ordinary process that holds
// one session over the descriptors 3 to 6 and, as a subreaper, gets the orphans that PID 1 would get.
const agentVariable = "USUI_TEST_PID1_AGENT"

// Environment variables that give an agent other times than the usual ones, in which a slow machine is not noticed.
const (
	drainVariable = "USUI_TEST_PID1_DRAIN"
	stopVariable  = "USUI_TEST_PID1_STOP"
)

func TestMain(m *testing.M) {
	if os.Getenv(agentVariable) != "" {
		os.Unsetenv(agentVariable)
		if err := agent(); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(agentError)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func agent() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	var files [4]*os.File
	for i := range files {
		unix.CloseOnExec(3 + i)
		if err := unix.SetNonblock(3+i, true); err != nil {
			return err
		}
		files[i] = os.NewFile(uintptr(3+i), "port")
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, unix.SIGUSR2)
	settled := 0
	return pid1.Serve(pid1.Ports{Control: files[0], Stdin: files[1], Stdout: files[2], Stderr: files[3]}, pid1.Config{
		Hello:   wire.Hello{Protocol: wire.Protocol, Kernel: "test", CPUs: 2, MemoryBytes: 1 << 30},
		Remarks: []string{"first remark"},
		Do:      agentStep,
		Kill:    killDescendants,
		Settle: func() []string {
			settled++
			return []string{fmt.Sprintf("settled %d, children %v", settled, children(os.Getpid()))}
		},
		Quit:  quit,
		Drain: timeFromEnv(drainVariable, 100*time.Millisecond),
		Stop:  timeFromEnv(stopVariable, time.Hour),
	})
}

func timeFromEnv(name string, usual time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return usual
}

// agentStep knows one kind of step and refuses the others.
func agentStep(s wire.Step) error {
	if s.Do == wire.DoWrite {
		return os.WriteFile(s.Target, []byte(s.Text), 0o600)
	}
	return unix.EPERM
}

// killDescendants is the harmless kin of kill(-1).
func killDescendants(sig unix.Signal) error {
	for _, pid := range children(os.Getpid()) {
		killTree(pid, sig)
	}
	return nil
}

func killTree(pid int, sig unix.Signal) {
	for _, child := range children(pid) {
		killTree(child, sig)
	}
	_ = unix.Kill(pid, sig) // it may have ended by itself
}

// children lists the children of all threads of pid.
func children(pid int) []int {
	var list []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// startAgent starts an agent and returns the host's ends of its ports. When the test ends the agent must have ended by
// itself, and well.
func startAgent(t *testing.T) attach.Conns {
	t.Helper()
	return startAgentThat(t, 0)
}

// startAgentThat is startAgent for an agent that ends with another exit status.
func startAgentThat(t *testing.T, status int) attach.Conns {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(self)
	// The race detector would make each agent sleep a second before it exits.
	agent.Env = append(os.Environ(), agentVariable+"=1", "GORACE=atexit_sleep_ms=0")
	var words bytes.Buffer
	agent.Stderr = &words
	var host [4]*os.File
	for i := range host {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		host[i] = os.NewFile(uintptr(fds[0]), "host end")
		agent.ExtraFiles = append(agent.ExtraFiles, os.NewFile(uintptr(fds[1]), "guest end"))
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range agent.ExtraFiles {
		f.Close()
	}
	conns := attach.Conns{Control: host[0], Stdin: host[1], Stdout: host[2], Stderr: host[3]}
	t.Cleanup(func() {
		conns.Close()
		err := agent.Wait()
		if got := agent.ProcessState.ExitCode(); got != status {
			t.Errorf("agent ended with %v, want status %d\n%s", err, status, words.Bytes())
		}
	})
	return conns
}

// result is what came out of one run.
type result struct {
	status         int
	err            error
	stdout, stderr string
	log            []string
}

// run runs cmd with stdio, to which it adds buffers where a stream is nil.
func run(t *testing.T, cmd attach.Command, stdio attach.Stdio) result {
	t.Helper()
	var out, errs bytes.Buffer
	var r result
	if stdio.Stdout == nil {
		stdio.Stdout = &out
	}
	if stdio.Stderr == nil {
		stdio.Stderr = &errs
	}
	stdio.OnLog = func(m string) { r.log = append(r.log, m) }
	r.status, r.err = attach.Run(context.Background(), startAgent(t), cmd, stdio)
	r.stdout, r.stderr = out.String(), errs.String()
	return r
}

// sh is a command of the shell.
func sh(script string) attach.Command {
	return attach.Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}
