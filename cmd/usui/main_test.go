package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program "usui" of the scripts, and one that runs in guests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"usui": main, vsockGuestName: vsockGuest})
}

// TestScripts runs testdata/script: the program as its user sees it. Besides testscript's own commands there are
//
//	exits STATUS COMMAND...  runs the command and wants that exit status; STATUS may be "0|1"
//	json                     wants standard output to be one JSON value
//	oneline                  wants standard error to be one line
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": isJSON, "oneline": isOneLine,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	status := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		status = exit.ExitCode()
	}
	got := strconv.Itoa(status)
	for want := range strings.SplitSeq(args[0], "|") {
		if got == want {
			return
		}
	}
	ts.Fatalf("exit status %s, want %s", got, args[0])
}

func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: json")
	}
	if !json.Valid([]byte(ts.ReadFile("stdout"))) {
		ts.Fatalf("stdout is not JSON")
	}
}

func isOneLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: oneline")
	}
	text := ts.ReadFile("stderr")
	if n := len(text); n < 2 || text[n-1] != '\n' || strings.Count(text, "\n") != 1 {
		ts.Fatalf("stderr is not one line: %q", text)
	}
}
