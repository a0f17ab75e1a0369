package pid1

import (
	"golang.org/x/sys/unix"
)

// openConsole makes /dev/console this process' standard streams. The kernel does so itself if the initramfs has that
// node; if not, devtmpfs brings it.
func openConsole() {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		// Without a console nobody can be told of an error; with devtmpfs there already, it is none.
		_ = unix.Mkdir("/dev", 0o755)
		_ = unix.Mount("dev", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755")
		fd, err = unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return
	}
	for std := 0; std <= 2; std++ {
		// Fails for a bad descriptor only.
		_ = unix.Dup3(fd, std, 0)
	}
	if fd > 2 {
		unix.Close(fd)
	}
}

// console writes one line to the console.
func console(line string) {
	// There is no further place to report that this place cannot be reached.
	_, _ = unix.Write(2, []byte(line+"\n"))
}
