package physmem

import (
	"os"

	"golang.org/x/sys/unix"
)

// Total is the RAM that the kernel manages, in bytes (sysinfo(2)).
func Total() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, os.NewSyscallError("sysinfo", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}
