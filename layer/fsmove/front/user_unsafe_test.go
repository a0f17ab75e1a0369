package front

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// asUser calls f as a user without capabilities, and its primary group.
func asUser(t *testing.T, uid, gid int, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() { // ends at once, and its thread, which has another user, with it
		runtime.LockOSThread()
		done <- func() error {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
				return os.NewSyscallError("setgroups", errno)
			}
			for _, c := range []struct{ call, id int }{{syscall.SYS_SETRESGID, gid}, {syscall.SYS_SETRESUID, uid}} {
				if _, _, errno := syscall.RawSyscall(uintptr(c.call), uintptr(c.id), uintptr(c.id), uintptr(c.id)); errno != 0 {
					return os.NewSyscallError("setresuid", errno)
				}
			}
			return f()
		}()
	}()
	return <-done
}
