package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usui/host/need"
	"usui/internal/lab"
)

// TestLabTopAndMetrics watches a machine that reads from its disk.
func TestLabTopAndMetrics(t *testing.T) {
	need.Lab(t, lab.KVM)
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	usui, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "d.img")
	if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	m := exec.CommandContext(ctx, usui, "run", "--no-lab", "--name", "web", "--metrics-listen", dir+"/m", "--disk", image, "--",
		"sh", "-c", "cat /dev/vda >/dev/null; echo read; cat")
	in, err := m.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.Stderr = os.Stderr
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("read\n"))); err != nil {
		t.Fatal(err)
	}
	top, err := exec.CommandContext(ctx, usui, "top", "--json", "--count", "1").Output()
	if err != nil {
		t.Fatal(err)
	}
	var row struct {
		Name           string
		PID, CPUs      int
		RSSBytes       int64
		Exits          uint64
		Seconds        float64
		Devices        []struct{ Kind, Name string }
		ExitsPerSecond *float64
	}
	if err := json.Unmarshal(top, &row); err != nil {
		t.Fatalf("%v in %s", err, top)
	}
	if row.Name != "web" || row.PID != m.Process.Pid || row.CPUs != 1 || row.RSSBytes < 32<<20 || row.Exits < 100 || row.Seconds <= 0 ||
		len(row.Devices) < 2 || row.Devices[0].Kind != "blk" || row.ExitsPerSecond == nil {
		t.Errorf("top says %s", top)
	}
	scrape := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dir+"/m")
	}}}
	answer, err := scrape.Get("http://x/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`usui_blk_bytes_read_total{machine="web",device="disk0"} 4`, `usui_machine_kernel_total{machine="web",counter="exits"} `,
		`usui_machine_exits_total{machine="web",cause="`, "# TYPE usui_blk_reads_total counter\n",
		`usui_rng_fill_seconds_count{machine="web",device="rng"} `, `usui_blk_read_seconds_bucket{machine="web",device="disk0",le="`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the metrics do not hold %q:\n%s", want, text)
		}
	}
	in.Close()
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
	if rest, _ := filepath.Glob(dir + "/usui/*"); len(rest) > 0 {
		t.Errorf("%q were left behind", rest)
	}
	if _, err := os.Stat(dir + "/m"); err == nil {
		t.Error("the metrics' socket was left behind")
	}
}
