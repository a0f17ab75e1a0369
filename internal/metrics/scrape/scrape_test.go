package scrape

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:9100": true, ":9100": true, "/run/m": true, "unix:m": true, "./m": true, "9100": false, "": false, "unix:": false,
	} {
		if err := Check(address); (err == nil) != good {
			t.Errorf("Check(%q) = %v, want it good: %v", address, err, good)
		}
	}
}

// A listener is not kept busy by clients that do nothing.
func TestServeBoundsItsConnections(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	path := l.Addr().String()
	s := Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}), slog.New(slog.DiscardHandler))
	defer s.Close()
	refused := false
	for range MaxConnections + 1 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			refused = true
			continue
		}
		if n, _ := c.Read(make([]byte, 1)); n == 0 {
			refused = true
		}
	}
	if !refused {
		t.Errorf("%d connections are all served", MaxConnections+1)
	}
}
