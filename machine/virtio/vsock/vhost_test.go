package vsock

import (
	"os"
	"strings"
	"testing"
)

func TestVhostThatIsNotThere(t *testing.T) {
	for _, cid := range []uint32{0, 2, 1<<32 - 1} {
		if _, err := NewVhost(cid); err == nil || !strings.Contains(err.Error(), "a guest's is 3 to") {
			t.Errorf("NewVhost(%d) = %v", cid, err)
		}
	}
	if _, err := os.Stat("/dev/vhost-vsock"); err == nil {
		return // TestLabVhost tries it
	}
	if _, err := NewVhost(3); err == nil || !strings.Contains(err.Error(), "modprobe vhost_vsock, or use Unix sockets") {
		t.Errorf("NewVhost = %v, want what to do", err)
	}
}
