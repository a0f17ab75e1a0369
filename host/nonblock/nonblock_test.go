package nonblock

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadAndWrite(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	p := make([]byte, 100)
	if n, err := Read(pair[0], p); n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("Read of nothing = %d, %v; want 0 and %v", n, err, unix.EAGAIN)
	}
	if n, err := Write(pair[1], []byte("word")); n != 4 || err != nil {
		t.Errorf("Write = %d, %v; want 4", n, err)
	}
	if n, err := Read(pair[0], p); n != 4 || err != nil || !bytes.Equal(p[:4], []byte("word")) {
		t.Errorf("Read = %d, %v, %q; want 4 and what was written", n, err, p[:4])
	}
	if n, err := Read(pair[0], nil); n != 0 || err != nil {
		t.Errorf("Read into no memory = %d, %v; want 0", n, err)
	}
	sent, err := 0, error(nil)
	for err == nil {
		var n int
		n, err = Write(pair[1], make([]byte, 64<<10))
		sent += n
	}
	if sent == 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("after %d bytes that nobody reads, Write = %v; want %v", sent, err, unix.EAGAIN)
	}
	unix.Close(pair[1])
	for got := 0; got < sent; {
		n, err := Read(pair[0], p)
		if err != nil || n == 0 {
			t.Fatalf("Read after %d of %d bytes = %d, %v", got, sent, n, err)
		}
		got += n
	}
	if n, err := Read(pair[0], p); n != 0 || err != nil {
		t.Errorf("Read at the end = %d, %v; want 0", n, err)
	}
	if _, err := Write(-1, p); !errors.Is(err, unix.EBADF) {
		t.Errorf("Write to no descriptor = %v, want %v", err, unix.EBADF)
	}
}
