package kv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// TestABackupIsWhatWasAcknowledged while clients go on writing.
func TestABackupIsWhatWasAcknowledged(t *testing.T) {
	address := serve(t)
	p := connect(t, address)
	for i := range 100 {
		p.must(t, "set", fmt.Sprint("key", i), strings.Repeat("v", 1000))
		p.must(t, "rpush", "list", fmt.Sprint(i))
	}
	stop, stopped := make(chan bool), make(chan error, 1)
	w := connect(t, address)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				if _, err := w.do("set", fmt.Sprint("later", i%10), strings.Repeat("w", 10000)); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	into := filepath.Join(t.TempDir(), "copy")
	out, err := (&backupOptions{from: address}).copy(t.Context(), into, func(int64, int64) {})
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err != nil || !strings.Contains(out, into+": ") || !strings.Contains(out, " check") {
		t.Fatalf("backup: %v, %q", err, out)
	}
	if held := p.info(t, "backup_held_segments"); held != 0 {
		t.Errorf("%d segments are held when nothing is backed up", held)
	}
	folder, err := disk.Open(into, engine.IsOurs, disk.Auto)
	if err != nil {
		t.Fatal(err)
	}
	copied, _ := serveFolder(t, folder, nil)
	q := connect(t, copied)
	for i := range 100 {
		if got := q.must(t, "get", fmt.Sprint("key", i)); !strings.Contains(got, strings.Repeat("v", 1000)) {
			t.Errorf("key%d is %q in the copy", i, got)
		}
	}
	if got := q.must(t, "llen", "list"); got != p.must(t, "llen", "list") {
		t.Errorf("the list has %s elements in the copy", got)
	}
	if _, err := (&backupOptions{from: address}).copy(t.Context(), into, func(int64, int64) {}); err == nil {
		t.Error("a backup went where something is")
	}
}

// TestABackupThatFailsLeavesNothing, be it that nobody answers, or that it is no store.
func TestABackupThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]backupOptions{
		"nobody":         {from: "unix:" + filepath.Join(dir, "nobody.sock")},
		"a Redis":        {from: redis(t)},
		"no authorities": {from: "127.0.0.1:1", tls: true, authorities: filepath.Join(dir, "x")},
		"no password":    {from: "127.0.0.1:1", passwordFile: filepath.Join(dir, "x")},
	} {
		if _, err := o.copy(t.Context(), filepath.Join(dir, "copy"), func(int64, int64) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestABackupByTLSWithAPassword has what a server may want to be shown.
func TestABackupByTLSWithAPassword(t *testing.T) {
	a := newAuthority(t)
	_, secured, _ := serveSecure(t, a.server(t), func(cfg *Config) { cfg.Password = "open sesame" })
	dir := t.TempDir()
	right, wrong := filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
	for path, password := range map[string]string{right: "open sesame\n", wrong: "open says me\n"} {
		if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		o    backupOptions
		want string
	}{
		{"a wrong password", backupOptions{passwordFile: wrong, authorities: a.path("ca.crt")}, "WRONGPASS"},
		{"no password", backupOptions{authorities: a.path("ca.crt")}, "NOAUTH"},
		{"an unknown authority", backupOptions{passwordFile: right}, "certificate"},
		{"all that is wanted", backupOptions{passwordFile: right, authorities: a.path("ca.crt")}, ""},
	} {
		tt.o.from, tt.o.tls = secured, true
		_, err := tt.o.copy(t.Context(), filepath.Join(dir, "copy"), func(int64, int64) {})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestABackupEndsWithItsContext, also if the server never answers.
func TestABackupEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("a signal")
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 100)) // it was asked
		cancel(cause)
		c.Read(make([]byte, 100)) // until the client goes
	}()
	into := filepath.Join(t.TempDir(), "copy")
	if _, err := (&backupOptions{from: l.Addr().String()}).copy(ctx, into, func(int64, int64) {}); !errors.Is(err, cause) {
		t.Errorf("copy = %v, want %v", err, cause)
	}
	if _, err := os.Stat(into + ".part"); err == nil {
		t.Error("a part is left")
	}
}

// TestCommandsOfBackups are refused, or not, as they should be.
func TestCommandsOfBackups(t *testing.T) {
	address := serve(t)
	a, b := connect(t, address), connect(t, address)
	a.must(t, "set", "key", "value")
	for _, tt := range []struct {
		p    *peer
		want string
		args []string
	}{
		{a, "BACKUP BEGIN comes first", []string{"backup", "read", "0", "0", "10"}},
		{a, ":1048576", []string{"backup", "begin"}},
		{b, "another backup", []string{"backup", "begin"}},
		{a, "usui-kv", []string{"backup", "read", "0", "0", "8"}},
		{a, "not an integer", []string{"backup", "read", "0", "x", "8"}},
		{a, "no such bytes", []string{"backup", "read", "1", "0", "8"}},
		{a, "no such bytes", []string{"backup", "read", "-9223372036854775808", "9223372036854775807", "-1"}},
		{a, "OK", []string{"backup", "end"}},
		{b, ":1048576", []string{"backup", "begin"}},
		{b, "RESET", []string{"reset"}},
		{a, ":1048576", []string{"backup", "begin"}},
	} {
		if got, err := tt.p.do(tt.args...); err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%q = %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}
