package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// TestMain makes this test binary the program "usui-blind" of the scripts, and of tests that send it signals.
func TestMain(m *testing.M) {
	if os.Getenv("USUI_BLIND_MAIN") != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"usui-blind": main})
}

// TestScripts runs testdata/script: the program as its user sees it. Besides testscript's own commands there are
//
//	module NAME          writes a small module with the constant c3050f
//	unhex FROM TO        makes bytes of a file of hexadecimal digits
//	mode FILE MODE       wants the file to have these permissions
//	slow NAME            writes a module that takes a second or more to compile
//	ends SIGNAL WHEN STATUS ARGUMENT...
//	                     starts usui-blind, sends it the signal when it has printed a line (WHEN is "printed"), has a folder for
//	                     code ("compiling"), waits for a pipe to be opened ("waiting") or at once ("started"), and wants this status and no folder left; SIGNAL "none" waits for it to end by itself
//	status N ARGUMENT... wants usui-blind to end with this status
//	json                 wants standard output to be one JSON value
//	oneline              wants standard error to be one line
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"module": module, "mode": mode, "json": isJSON, "oneline": isOneLine, "unhex": unhex, "slow": slow, "ends": ends, "status": status,
		},
	})
}

func module(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: module NAME")
	}
	m := wasmtest.Module{Funcs: []wasmtest.Func{{
		Name: "gadget", Type: wasmtest.Type{Results: []wasm.ValType{wasm.I32}}, Code: wasm.AppendI32(nil, 0xc3050f),
	}}}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), m.Bytes(), 0o644))
}

func slow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: slow NAME")
	}
	const labels = 40_000 // the compiler makes a block for each
	var code []byte
	for range 4 {
		code = append(code, byte(wasm.OpBlock), 0x40)
		code = wasm.AppendIndex(wasm.AppendI32(code, 7), wasm.OpBrTable, labels)
		code = append(append(code, make([]byte, labels+1)...), byte(wasm.OpEnd))
	}
	m := wasmtest.Module{Funcs: []wasmtest.Func{{Name: "_start", Code: code}}}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), m.Bytes(), 0o644))
}

// usuiBlind is the program with these arguments, and what it prints.
func usuiBlind(ts *testscript.TestScript, args []string) (*exec.Cmd, *bufio.Reader) {
	self, err := os.Executable()
	ts.Check(err)
	c := exec.Command(self, args...)
	c.Dir, c.Env = ts.Getenv("WORK"), append(os.Environ(), "USUI_BLIND_MAIN=1")
	c.Stderr = ts.Stderr()
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	return c, bufio.NewReader(out)
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N ARGUMENT...")
	}
	c, out := usuiBlind(ts, args[1:])
	io.Copy(io.Discard, out)
	c.Wait() // its error is the status
	if got := strconv.Itoa(c.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("status %s, want %s", got, args[0])
	}
}

func ends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: ends SIGNAL WHEN STATUS ARGUMENT...")
	}
	appeared := watch(ts, "/dev/shm")
	defer appeared.Close()
	c, out := usuiBlind(ts, args[3:])
	defer c.Process.Kill() // of use only if the test fails
	folders := fmt.Sprintf("/dev/shm/usui-blind-%d-*", c.Process.Pid)
	left := func() int {
		list, err := filepath.Glob(folders)
		ts.Check(err)
		return len(list)
	}
	switch args[1] {
	case "printed":
		if line, err := out.ReadString('\n'); err != nil || left() > 0 {
			ts.Fatalf("printed %q, %v, with %d folders", line, err, left())
		}
	case "waiting": // it handles signals by then
		for threads := fmt.Sprintf("/proc/%d/task/*/wchan", c.Process.Pid); !opening(ts, threads); {
			runtime.Gosched()
		}
	case "compiling":
		appeared.wait(ts, filepath.Base(folders))
	}
	if signal, ok := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]; ok {
		ts.Check(c.Process.Signal(signal))
	}
	io.Copy(io.Discard, out)
	c.Wait() // its error is the status
	if got := strconv.Itoa(c.ProcessState.ExitCode()); got != args[2] {
		ts.Fatalf("status %s, want %s", got, args[2])
	}
	if n := left(); n > 0 {
		ts.Fatalf("%d folders are left", n)
	}
}

// opening reports whether a thread waits for the other end of a pipe, by the functions of the kernel that threads wait in.
func opening(ts *testscript.TestScript, threads string) bool {
	list, err := filepath.Glob(threads)
	ts.Check(err)
	for _, name := range list {
		if b, err := os.ReadFile(name); err == nil && string(b) == "wait_for_partner" {
			return true
		}
	}
	return false
}

// folder is an inotify instance that tells of what is made in a folder.
type folder struct{ *os.File }

func watch(ts *testscript.TestScript, path string) folder {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	ts.Check(err)
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_CREATE)
	ts.Check(err)
	return folder{os.NewFile(uintptr(fd), path)}
}

// wait returns when something was made whose name is of that pattern.
func (f folder) wait(ts *testscript.TestScript, pattern string) {
	for buf := make([]byte, 64<<10); ; {
		n, err := f.Read(buf)
		ts.Check(err)
		for events := buf[:n]; len(events) > 0; { // inotify(7): 12 bytes, the name's length, the name up to a NUL
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
			name, _, _ := strings.Cut(string(events[unix.SizeofInotifyEvent:size]), "\x00")
			if ok, _ := filepath.Match(pattern, name); ok {
				return
			}
			events = events[size:]
		}
	}
}

// unhex turns a file of hexadecimal digits, white space and comments from ";" on into bytes.
func unhex(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unhex FROM TO")
	}
	var digits strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	b, err := hex.DecodeString(digits.String())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(filepath.Clean(ts.MkAbs(args[0])))
	ts.Check(err)
	if got := info.Mode().Perm().String(); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if !json.Valid([]byte(ts.ReadFile("stdout"))) {
		ts.Fatalf("stdout is not JSON")
	}
}

func isOneLine(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if n := len(text); n < 2 || text[n-1] != '\n' || strings.Count(text, "\n") != 1 {
		ts.Fatalf("stderr is not one line: %q", text)
	}
}
