package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"usui/internal/cli"
	"usui/internal/rundir"
)

// fakeMachine answers like a machine that started at some time and has read so many bytes of two disks.
func fakeMachine(t *testing.T, name string, answer func() string) {
	t.Helper()
	l, err := rundir.Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer()) })}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

func top(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o := topOptions{interval: 50 * time.Millisecond, count: 1, names: args}
	err := o.run(t.Context(), &cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard})
	return out.String(), err
}

func TestTopShowsMachines(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if got, err := top(t); err != nil || got != "no machine runs\n" {
		t.Errorf("without machines: %q, %v", got, err)
	}
	const disks = `{"kind":"blk","stats":{"BytesRead":1}},{"kind":"other","stats":7}`
	fakeMachine(t, "b", func() string { return `{"name":"\u001b[2J","pid":7,"rssBytes":2097152,"devices":[` + disks + `]}` })
	fakeMachine(t, "a", func() string { return `{"pid":8}` })
	fakeMachine(t, "broken", func() string { return `{"pid":` })
	got, err := top(t)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], "NAME") || !strings.HasSuffix(lines[1], " a") || !strings.HasSuffix(lines[2], " b") ||
		!strings.Contains(lines[2], " 2.0M ") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q, want a heading, a and b", got)
	}
	if _, err := top(t, "none"); err == nil || !strings.Contains(err.Error(), "no machine of this name") {
		t.Errorf("a machine that is not there: %v", err)
	}
	if _, err := top(t, "broken"); err == nil {
		t.Error("a machine that answers nonsense is shown")
	}
}

func TestRatesAreDifferences(t *testing.T) {
	at := time.Now()
	mk := func(after time.Duration, started time.Time, cpu, exits, read uint64) map[string]look {
		l := look{at: at.Add(after)}
		l.Started, l.CPUNs = started, int64(cpu)
		l.liveInfo.Exits = exits
		stats, _ := json.Marshal(map[string]uint64{"BytesRead": read, "BytesWritten": 10 * read})
		l.Devices = []device{{Kind: "blk", Stats: stats}, {Kind: "blk", Stats: stats}}
		return map[string]look{"x": l}
	}
	before := mk(0, at, 1e9, 100, 1000)
	r := rows(before, mk(2*time.Second, at, 4e9, 300, 2000))[0]
	if r.Seconds != 2 || r.CPU != 1.5 || r.Exits != 100 || r.Read != 1000 || r.Write != 10000 {
		t.Errorf("rates %+v", r)
	}
	if r := rows(before, mk(2*time.Second, at.Add(1), 4e9, 300, 2000))[0]; r.Seconds != 0 || r.CPU != 0 {
		t.Errorf("rates of another machine of the same name: %+v", r)
	}
	if r := rows(before, mk(0, at, 4e9, 300, 2000))[0]; r.CPU != 0 {
		t.Errorf("rates in no time: %+v", r)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[float64]string{0: "0B", 999: "999B", 1000: "1.0K", 1024: "1.0K", 20480: "20K", 1 << 20: "1.0M", 1 << 40: "1.0T", 5e15: "4547.5T"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%v) = %q, want %q", n, got, want)
		}
	}
}
