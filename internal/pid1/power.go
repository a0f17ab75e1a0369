package pid1

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killAll sends sig to all processes but this one. Kernel threads ignore it.
func killAll(sig unix.Signal) error {
	err := unix.Kill(-1, sig)
	if err == unix.ESRCH {
		return nil
	}
	// A stopped process takes SIGTERM only when it goes on.
	if err == nil && sig != unix.SIGKILL {
		err = unix.Kill(-1, unix.SIGCONT)
	}
	return err
}

// within returns what work does, or says that it took longer than limit and leaves it behind.
func within(limit time.Duration, work func() []string) []string {
	done := make(chan []string, 1)
	guarded(func() { done <- work() })
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case remarks := <-done:
		return remarks
	case <-t.C:
		return []string{fmt.Sprintf("file systems are not unmounted after %v", limit)}
	}
}

// settle unmounts what can be unmounted, last mounted first, and makes the rest read-only, so that each disk holds a
// consistent file system whenever the machine ends from now on.
func settle() []string {
	unix.Sync()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{err.Error()}
	}
	var remarks []string
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		f := strings.Fields(lines[i])
		if len(f) < 4 || virtual(f[2]) {
			continue
		}
		target := unescape(f[1])
		if target != "/" && unix.Unmount(target, 0) == nil {
			continue
		}
		if strings.HasPrefix(f[3], "ro,") || f[3] == "ro" {
			continue
		}
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			remarks = append(remarks, fmt.Sprintf("%s at %q stays mounted: %v", f[2], target, err))
		}
	}
	unix.Sync()
	return remarks
}

// virtual reports whether a file system of that type keeps nothing on a disk.
func virtual(fstype string) bool {
	switch fstype {
	case "rootfs", "proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs":
		return true
	}
	return false
}

// unescape undoes the octal escapes of /proc/mounts, see getmntent(3).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// powerOff ends the machine and does not return.
func powerOff() {
	unix.Sync()
	if canPowerOff() {
		// Returns only if it is refused.
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	restart()
}

// restart resets the machine and does not return. Monitors that were told so end there.
func restart() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	console("usui-init: the kernel refuses to end the machine")
	select {}
}

// canPowerOff reports whether the kernel knows how. If not, it would halt the CPUs for ever instead and never return:
// a PC is switched off through ACPI alone, arm64 through PSCI, which a guest always has.
func canPowerOff() bool {
	if runtime.GOARCH != "amd64" {
		return true
	}
	_, err := os.Stat("/sys/firmware/acpi")
	return err == nil
}
