package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"usui/internal/cli"
	"usui/internal/tail"
	"usui/machine/vmm"
)

func TestEscapeEndsTheInput(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		quits    bool
	}{
		{"ls\r", "ls\r", false},
		{"a\x1d\x1db\x1d\x1dc\x1d", "a\x1d\x1db\x1d\x1dc\x1d", false},
		{"ab\x1d\x1d\x1dcd", "ab\x1d\x1d", true},
		{"\x1d\x1d\x1d", "\x1d\x1d", true},
	} {
		for _, reader := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
			quits := 0
			got, err := io.ReadAll(&escapeReader{in: reader, quit: func() { quits++ }})
			if err != nil || string(got) != tt.want || quits > 0 != tt.quits || quits > 1 {
				t.Errorf("read %q: %q, %v, %d quits; want %q, quit %v", tt.in, got, err, quits, tt.want, tt.quits)
			}
		}
	}
}

// TestOutputEventsHoldWhatWasWritten writes in pieces of all sizes and expects the same bytes back, text as text.
func TestOutputEventsHoldWhatWasWritten(t *testing.T) {
	text := "one\nzwölf 薄い\n" + strings.Repeat("薄", 3*outputBytes) + "\nno end é"
	for _, size := range []int{1, 2, 3, 7, 4096, 1 << 20} {
		for _, tt := range []struct {
			name, in string
			binary   bool
		}{{"text", text, false}, {"binary", "\xff\xfe\n\x00" + text, true}} {
			var out bytes.Buffer
			e := newEvents(&cli.Env{Stdout: &out, Stderr: io.Discard}, true)
			w := e.stream("stdout", nil)
			for b := []byte(tt.in); len(b) > 0; b = b[min(size, len(b)):] {
				if n, err := w.Write(b[:min(size, len(b))]); err != nil || n != min(size, len(b)) {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			e.flush()
			var got []byte
			sawBase64 := false
			for d := json.NewDecoder(&out); d.More(); {
				var ev struct {
					Event, Stream, Text string
					Base64              []byte
				}
				if err := d.Decode(&ev); err != nil || ev.Event != "output" || ev.Stream != "stdout" {
					t.Fatalf("event %+v, %v; want output of stdout", ev, err)
				}
				got = append(append(got, ev.Text...), ev.Base64...)
				sawBase64 = sawBase64 || len(ev.Base64) > 0
			}
			if string(got) != tt.in || sawBase64 != tt.binary {
				t.Errorf("%s in pieces of %d: %d bytes back, want %d; base64 %v, want %v", tt.name, size, len(got), len(tt.in), sawBase64, tt.binary)
			}
		}
	}
}

func TestLastWords(t *testing.T) {
	var out bytes.Buffer
	w := &lastWords{tail.New(consoleBytes, nil), &out}
	w.show()
	fmt.Fprint(w, "Kernel panic\nthe last words")
	w.show()
	if got := out.String(); got != "Kernel panic\nthe last words\n" {
		t.Errorf("shown: %q", got)
	}
	(*lastWords)(nil).show() // nothing kept, nothing shown
	if got := w.cause(vmm.Reset); got != vmm.Reset {
		t.Errorf("a reset after %q is a %v", w, got)
	}
	fmt.Fprint(w, "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
	if got := w.cause(vmm.Reset); got != vmm.Panic {
		t.Errorf("a reset after a panic is a %v", got)
	}
	if got := w.cause(vmm.PowerOff); got != vmm.PowerOff {
		t.Errorf("a power-off after a panic is a %v", got)
	}
}
