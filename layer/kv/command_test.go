package kv

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// fails returns the error of a command that does not get as far as printing something.
func fails(t *testing.T, name string, args ...string) error {
	t.Helper()
	for _, c := range Commands() {
		if c.Name == name {
			f := flag.NewFlagSet(name, flag.ContinueOnError)
			run := c.Setup(f)
			if err := f.Parse(args); err != nil {
				t.Fatal(err)
			}
			return run(t.Context(), nil, f.Args())
		}
	}
	t.Fatalf("there is no command %s", name)
	return nil
}

func TestWrongCallsSayWhatToDo(t *testing.T) {
	empty := t.TempDir() + "/password"
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		command, args, want string
	}{
		{"serve", "", "say where the store is"},
		{"serve", "--dir x y", `"y": serve takes flags only`},
		{"serve", "--dir x --segment 0", "--segment"},
		{"serve", "--dir x --segment 4096", "--segment"},
		{"serve", "--dir x --password-file " + empty, "first line is empty"},
		{"serve", "--dir x --listen=", "want HOST:PORT"},
		{"serve", "--dir x --listen :6379,", "want HOST:PORT"},
		{"serve", "--dir x --listen foo", "want HOST:PORT"},
		{"serve", "--dir x --listen localhost:", "no port"},
		{"serve", "--dir x --listen 127.0.0.1:99999", "invalid port"},
		{"serve", "--dir x --listen unix:", "unix: wants a path"},
		{"serve", "--dir x --tls-listen foo --tls-cert y --tls-key z", "want HOST:PORT"},
		{"serve", "--dir x --tls-cert y", "--tls-listen"},
		{"serve", "--dir x --tls-listen :0", "--tls-cert"},
		{"serve", "--dir x --metrics-listen 9100", "HOST:PORT"},
		{"serve", "--dir x --xdp-address 10.0.0.1", "--xdp-address is for --xdp"},
		{"serve", "--dir x --xdp eth0 --xdp-address fe80::1", "want an address of IPv4"},
		{"serve", "--dir x --xdp eth0 --xdp-port 0", "--xdp-port is 1 to 65535"},
		{"serve", "--dir x --xdp eth0 --xdp-memory 1", "--xdp-memory 16 to"},
		{"check", "", "name one folder"},
		{"check", "/no/such/folder", "no such file"},
		{"check", "/etc", "no file of a store"},
	} {
		if err := fails(t, tt.command, strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s = %v, want an error with %q", tt.command, tt.args, err, tt.want)
		}
	}
	if _, err := os.Lstat("x"); !os.IsNotExist(err) {
		t.Errorf("a wrong call made the folder: %v", err)
	}
}

func TestCheckReadsWhatAServerWrote(t *testing.T) {
	path := t.TempDir()
	victim, err := startVictim(t, path, plain)
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, victim.address)
	p.must(t, "mset", "a", "1", "b", "2")
	if err := fails(t, "check", path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("check of a folder in use = %v, want it refused", err)
	}
	victim.Process.Kill()
	if err := killed(victim); err != nil {
		t.Fatal(err)
	}
	if out, err := check(path); err != nil || !strings.Contains(out, ": 2 records, 80 bytes, in ") {
		t.Errorf("check = %q, %v; want 2 records", out, err)
	}
}

func TestLoopsAreAsManyAsGoOnSideBySide(t *testing.T) {
	for _, c := range []struct {
		cores  int
		bypass bool
		want   int
	}{{1, false, 1}, {2, false, 1}, {48, false, 47}, {200, false, maxLoops}, {1, true, 1}, {2, true, 1}, {8, true, 4}, {48, true, bypassLoops}} {
		if got := defaultLoops(c.cores, c.bypass); got != c.want {
			t.Errorf("defaultLoops(%d, %v) = %d, want %d", c.cores, c.bypass, got, c.want)
		}
	}
}
