package wire

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// requests and reports have one of each kind.
func requests() []Request {
	return []Request{
		{Run: &Run{
			Steps: []Step{Mount("9p", "host", "/r", "ro"), Bind("/a", "/b"), Module("/m.ko", "x=1"), Wait("/dev/vda"), Write("/f", "text"), Root("/r")},
			Argv:  []string{"a", "\xff\n"}, Env: []string{"A=\xfe"}, Dir: "/", TTY: true, Rows: 24, Cols: 80,
		}},
		{Winsize: &Winsize{Rows: 1, Cols: 65535}},
		{Signal: &Signal{Name: "SIGINT"}},
		{StdinEOF: &StdinEOF{Bytes: 1 << 62}},
		{Close: &Close{Stream: Stderr}},
		{Poweroff: &Poweroff{}},
	}
}

func reports() []Report {
	return []Report{
		{Hello: &Hello{Protocol: Protocol, Kernel: "6.1", CPUs: 2, MemoryBytes: 1 << 30, Init: 1, Mounts: 2, Modules: 3, Control: 4}},
		{Started: &Started{PID: 7}},
		{Exit: &Exit{Status: 143, Signal: "SIGTERM", StdoutBytes: 1, StderrBytes: 2}},
		{Error: &Error{Message: "step 1: no"}},
		{Log: &Log{Message: "zwölf\n"}},
	}
}

func TestRoundTrip(t *testing.T) {
	var stream bytes.Buffer
	for _, m := range requests() {
		if err := WriteRequest(&stream, m); err != nil {
			t.Fatalf("WriteRequest(%+v): %v", m, err)
		}
	}
	r := NewRequestReader(&stream)
	for _, want := range requests() {
		got, err := r.Next()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Next() = %v, differs (-want +got):\n%s", err, diff)
		}
	}
	for _, m := range reports() {
		if err := WriteReport(&stream, m); err != nil {
			t.Fatalf("WriteReport(%+v): %v", m, err)
		}
	}
	p := NewReportReader(&stream)
	for _, want := range reports() {
		got, err := p.Next()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Next() = %v, differs (-want +got):\n%s", err, diff)
		}
	}
	if _, err := p.Next(); err != io.EOF {
		t.Errorf("Next() at the end = %v, want EOF", err)
	}
}

// Every kind of message is in the tables above, and check knows each.
func TestTablesAreComplete(t *testing.T) {
	if got, want := len(requests()), reflect.TypeFor[Request]().NumField(); got != want {
		t.Errorf("%d requests in the test, the type has %d", got, want)
	}
	if got, want := len(reports()), reflect.TypeFor[Report]().NumField(); got != want {
		t.Errorf("%d reports in the test, the type has %d", got, want)
	}
}

func TestBadReports(t *testing.T) {
	for _, line := range []string{
		`{}`, `{"hello":{"cpus":-1}}`, `{"started":{"pid":0}}`, `{"exit":{"status":256}}`, `{"exit":{"status":-1}}`,
		`{"exit":{"stdoutBytes":-1}}`, `{"log":{"message":1}}`, `{"log":{},"error":{}}`, `{"log":{}} {"log":{}}`, `null`, `"x"`,
		`{"log":{"message":"` + strings.Repeat("x", MaxReport) + `"}}`,
	} {
		if m, err := NewReportReader(strings.NewReader(line + "\n")).Next(); err == nil {
			t.Errorf("Next(%.60q) = %+v, want an error", line, m)
		}
	}
	if _, err := NewReportReader(strings.NewReader(`{"log":{}}`)).Next(); err != io.EOF {
		t.Errorf("Next of a line without its end = %v, want EOF", err)
	}
}

func TestTextOfTheGuestIsHarmless(t *testing.T) {
	line := `{"log":{"message":"a\u001b[2Jb\u0007\u009b\u202e\n"}}` + "\n"
	m, err := NewReportReader(strings.NewReader(line)).Next()
	if want := "a\ufffd[2Jb\ufffd\ufffd\ufffd\n"; err != nil || m.Log.Message != want {
		t.Errorf("Next() = %+v, %v, want %q", m.Log, err, want)
	}
	long := Report{Log: &Log{Message: strings.Repeat("é", maxText)}}
	if err := WriteReport(io.Discard, long); err != nil {
		t.Errorf("WriteReport of a long text: %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, m := range []Request{
		{}, {Run: &Run{}}, {Run: &Run{Argv: []string{"a\x00"}}}, {Run: &Run{Argv: []string{"a"}, Env: []string{"A=\x00"}}},
		{Run: &Run{Argv: []string{"a", strings.Repeat("x", maxArgs)}}}, {StdinEOF: &StdinEOF{Bytes: -1}},
	} {
		if err := WriteRequest(io.Discard, m); err == nil {
			t.Errorf("WriteRequest(%.80v) wrote it", m)
		}
	}
}

// What is just in bounds fits into a line.
func TestLargestRunFits(t *testing.T) {
	m := Request{Run: &Run{Argv: []string{"a", strings.Repeat("x", maxArgs-1)}}}
	for range maxSteps {
		m.Run.Steps = append(m.Run.Steps, Mount("overlay", "overlay", strings.Repeat("t", 400), strings.Repeat("o", 400)))
	}
	var line bytes.Buffer
	if err := WriteRequest(&line, m); err != nil {
		t.Fatal(err)
	}
	if _, err := NewRequestReader(&line).Next(); err != nil {
		t.Error(err)
	}
}

func TestStepsDescribeThemselves(t *testing.T) {
	for want, s := range map[string]Step{
		`mount ext4 "/dev/vda" at "/mnt"`: Mount("ext4", "/dev/vda", "/mnt", ""),
		`bind "/a" to "/b"`:               Bind("/a", "/b"),
		`load module "/m.ko"`:             Module("/m.ko", ""),
		`wait for "/dev/x"`:               Wait("/dev/x"),
		`write "/f"`:                      Write("/f", ""),
		`make "/r" the root`:              Root("/r"),
		`do "dance"`:                      {Do: "dance"},
	} {
		if got := s.String(); got != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
	}
}

// What the guest's side decodes can be encoded again and means the same.
func FuzzRequest(f *testing.F) {
	for _, m := range requests() {
		var line bytes.Buffer
		if err := WriteRequest(&line, m); err != nil {
			f.Fatal(err)
		}
		f.Add(line.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewRequestReader(bytes.NewReader(stream))
		for {
			m, err := r.Next()
			if err != nil {
				return
			}
			var line bytes.Buffer
			if err := WriteRequest(&line, m); err != nil {
				t.Fatalf("WriteRequest(%+v), which Next gave: %v", m, err)
			}
			again, err := NewRequestReader(&line).Next()
			if diff := cmp.Diff(m, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("round trip: %v, (-first +second):\n%s", err, diff)
			}
		}
	})
}

// What the host's side decodes is in bounds and safe to print.
func FuzzReport(f *testing.F) {
	for _, m := range reports() {
		var line bytes.Buffer
		if err := WriteReport(&line, m); err != nil {
			f.Fatal(err)
		}
		f.Add(line.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReportReader(bytes.NewReader(stream))
		for {
			m, err := r.Next()
			if err != nil {
				return
			}
			for _, text := range texts(m) {
				if strings.ContainsAny(text, "\x00\x07\x1b\r\u009b") || !utf8.ValidString(text) {
					t.Fatalf("Next() gave the text %q", text)
				}
			}
			if e := m.Exit; e != nil && (e.Status < 0 || e.Status > 255 || e.StdoutBytes < 0 || e.StderrBytes < 0) {
				t.Fatalf("Next() gave %+v", e)
			}
		}
	})
}

func texts(m Report) []string {
	switch {
	case m.Hello != nil:
		return []string{m.Hello.Kernel}
	case m.Exit != nil:
		return []string{m.Exit.Signal}
	case m.Error != nil:
		return []string{m.Error.Message}
	case m.Log != nil:
		return []string{m.Log.Message}
	}
	return nil
}
