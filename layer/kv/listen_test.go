package kv

import (
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"usui/layer/kv/disktest"
)

func TestUnixSockets(t *testing.T) {
	path := t.TempDir() + "/kv.sock"
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := New(Config{Listen: "unix:" + path, Folder: disktest.New()}); err == nil {
		t.Errorf("New = %v on a socket that another listens at, want an error", s)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close() // as if it had been killed
	address, stop := serveFolder(t, disktest.New(), func(c *Config) { c.Listen = "127.0.0.1:0,unix:" + path })
	tcp, _, _ := strings.Cut(address, ",")
	if i, err := os.Stat(path); err != nil || i.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v, %v; want it for its owner alone", i.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(c)
	defer p.Close()
	p.must(t, "set", "k", "v")
	if r := connect(t, tcp).must(t, "get", "k"); r != "$1\r\nv\r\n" {
		t.Errorf("GET by TCP = %q, want what was set by the socket", r)
	}
	if r := p.must(t, "client", "info"); !strings.Contains(r, " addr="+path+":0 laddr="+path+":0 ") || !strings.Contains(r, " flags=U ") {
		t.Errorf("CLIENT INFO = %q, want the socket's path and flag U", r)
	}
	stop()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after the end: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	var s *Store
	address, stop := serveStore(t, disktest.New(), func(c *Config) { c.Metrics = "127.0.0.1:0" }, &s)
	p := connect(t, address)
	p.must(t, "set", "k", "v")
	p.must(t, "get", "k")
	p.do("incr", "k")
	r, err := http.Get("http://" + s.MetricsAddress() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"usui_kv_commands_total 3\n", `usui_kv_command_calls_total{command="set"} 1`, `usui_kv_command_failed_total{command="incr"} 1`, "usui_kv_clients_connected 1\n",
		"usui_kv_engine_batches_total 1\n", "usui_kv_engine_keys 1\n", "usui_kv_command_seconds_count 3\n", "usui_kv_sync_seconds_count ", "usui_kv_bytes_read_total ",
		"usui_kv_engine_bytes_appended_total ", "usui_kv_engine_compacted_total 0\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the metrics lack %q:\n%s", want, b.String())
		}
	}
	stop()
	if r, err := http.Get("http://" + s.MetricsAddress() + "/metrics"); err == nil {
		r.Body.Close()
		t.Error("metrics are served when the server has ended")
	}
}
