package pid1

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHeartbeatRingsForTheSilent has one of three CPUs alive.
func TestHeartbeatRingsForTheSilent(t *testing.T) {
	var bells []int
	for range 3 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		bells = append(bells, fd)
	}
	rung := func() (list []bool) {
		for _, fd := range bells {
			var count [8]byte
			_, err := unix.Read(fd, count[:])
			list = append(list, err == nil)
		}
		return list
	}
	if err := beat(bells, 1, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := rung(); !got[0] || got[1] || !got[2] {
		t.Errorf("bells %v rang after a period of silence, want all but the second", got)
	}
	if _, err := unix.Write(bells[1], []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := beat(bells, 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := rung(); got[0] || got[1] || got[2] {
		t.Errorf("bells %v rang although somebody else is awake, want none", got)
	}
}
