//go:build long

package main

import (
	"bytes"
	"os"
	"runtime"
	"testing"

	"usui/internal/cli"
	"usui/internal/lab"

	hostneed "usui/host/need"
)

// TestLabLongFiftyBoots boots the default guest fifty times in one process, alternating one and two CPUs, and looks for what a
// machine leaves behind: descriptors, goroutines, threads.
func TestLabLongFiftyBoots(t *testing.T) {
	hostneed.Lab(t, lab.KVM)
	const boots = 50
	var first [3]int
	for i := range boots {
		var stdout, stderr bytes.Buffer
		env := &cli.Env{Stdin: bytes.NewReader(nil), Stdout: &stdout, Stderr: &stderr}
		o := runOptions{cpus: 1 + i%2, memory: 256 << 20, guest: "cloud", args: []string{"nproc"}, init: "../../bin/usui-init"}
		if err := o.here(t.Context(), env, newEvents(env, false)); err != nil {
			t.Fatalf("boot %d: %v\n%s", i+1, err, stderr.Bytes())
		}
		if got, want := stdout.String(), string(rune('1'+i%2))+"\n"; got != want {
			t.Errorf("boot %d: nproc says %q, want %q", i+1, got, want)
		}
		now := [3]int{entries(t, "/proc/self/fd"), runtime.NumGoroutine(), entries(t, "/proc/self/task")}
		t.Logf("boot %d: %d descriptors, %d goroutines, %d threads", i+1, now[0], now[1], now[2])
		if i == 1 { // by now the runtime has opened what it keeps
			first = now
		}
		if i > 1 && (now[0] > first[0] || now[1] > first[1] || now[2] > first[2]+8) { // the runtime parks some threads
			t.Fatalf("boot %d left something behind: %v descriptors, goroutines and threads; %v after the second", i+1, now, first)
		}
	}
}

// entries counts what is in a folder.
func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
