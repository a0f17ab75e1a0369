package tap

import "golang.org/x/sys/unix"

// dropRoot makes this thread, and no other, another user's. SAFETY: no pointer is passed; the caller's goroutine is locked to
// its thread and ends with it.
func dropRoot(user int) error {
	id := uintptr(user)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); errno != 0 {
		return errno
	}
	return nil
}
