package kv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

// serveFolder serves a folder until the test ends, and returns the address and a function that ends it earlier.
func serveFolder(t *testing.T, folder disk.Folder, change func(*Config)) (address string, stop func()) {
	t.Helper()
	var s *Store
	return serveStore(t, folder, change, &s)
}

// serveStore is serveFolder that tells the store, too.
func serveStore(t *testing.T, folder disk.Folder, change func(*Config), store **Store) (address string, stop func()) {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", Folder: folder, SegmentBytes: 1 << 20, Loops: 3}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	*store = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }() // ends with stop
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s.Address(), stop
}

// serve serves a new folder.
func serve(t *testing.T) (address string) {
	t.Helper()
	folder, err := disk.Open(t.TempDir(), engine.IsOurs, disk.Auto)
	if err != nil {
		t.Fatal(err)
	}
	address, _ = serveFolder(t, folder, nil)
	return address
}

// peer is a client.
type peer struct {
	net.Conn
	r *bufio.Reader
}

func dial(address string) (*peer, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return newPeer(c), nil
}

func newPeer(c net.Conn) *peer { return &peer{c, bufio.NewReader(c)} }

func connect(t *testing.T, address string) *peer {
	t.Helper()
	p, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// encode makes a command of words.
func encode(args ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.Bytes()
}

// do sends a command and returns the reply as its bytes are.
func (p *peer) do(args ...string) (string, error) {
	if _, err := p.Write(encode(args...)); err != nil {
		return "", err
	}
	return p.reply()
}

// reply reads one reply, with all that it contains.
func (p *peer) reply() (string, error) {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:])) // 0 for what is no number
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		_, err := io.ReadFull(p.r, body)
		return line + string(body), err
	case '%':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			part, err := p.reply()
			if err != nil {
				return "", err
			}
			line += part
		}
	}
	return line, nil
}

// must is do for a command that must not fail.
func (p *peer) must(t *testing.T, args ...string) string {
	t.Helper()
	r, err := p.do(args...)
	if err != nil || strings.HasPrefix(r, "-") {
		t.Fatalf("%.80q = %.200q, %v", args, r, err)
	}
	return r
}
