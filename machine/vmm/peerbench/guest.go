package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guestMain is the life of the guest's first process. What goes wrong is a line on the console, which the host waits for.
func guestMain() {
	err := enter()
	say(lineUp)
	if err == nil {
		err = serveGuest()
	}
	if err != nil {
		say(lineError + err.Error())
	} else {
		say(lineDone)
	}
	time.Sleep(time.Second) // the last bytes may be on their way
	// It returns only where the kernel knows no way to end the machine; the host kills the monitor then.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// piece is how much of a line is written at once. Linux's driver sends at most 512 bytes for one interrupt (PASS_LIMIT) of a UART
// that, as gokvm's, does not say when it is done, and gokvm sends an interrupt only for the first byte after a silence.
const piece = 256

// say writes a line to the console.
func say(text string) {
	rest := text + "\n"
	for len(rest) > piece {
		fmt.Print(rest[:piece])
		const drain = 1 // tcdrain(3); if that fails, the host sees less than all
		_ = unix.IoctlSetInt(1, unix.TCSBRK, drain)
		rest = rest[piece:]
	}
	fmt.Print(rest)
}

// enter mounts what is needed, notes in the kernel's log that init runs, and keeps the kernel from writing between our lines.
func enter() error {
	debug.SetGCPercent(-1) // nothing here lives long enough to be worth a collection in a measurement
	for _, m := range []struct{ fstype, target string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := os.WriteFile("/dev/kmsg", []byte(initRuns+"\n"), 0); err != nil {
		return err
	}
	const consoleOff = 6 // SYSLOG_ACTION_CONSOLE_OFF, syslog(2)
	if _, err := unix.Klogctl(consoleOff, nil); err != nil {
		return os.NewSyscallError("syslog", err)
	}
	return nil
}

func serveGuest() error {
	switch task := os.Getenv(wordTask); task {
	case taskPhases:
		return tellLog()
	case taskNet:
		return serveNet()
	case taskBlk:
		return serveLoads()
	default:
		return fmt.Errorf("task %q is unknown", task)
	}
}

// tellLog prints what the kernel's log says of the boot.
func tellLog() error {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/kmsg: %w", err)
	}
	defer unix.Close(fd)
	k := kernelLog{}
	buf := make([]byte, 8192) // a record has at most 1 KiB of text, and escapes
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			break
		}
		if err == unix.EPIPE || err == unix.EINTR {
			continue // EPIPE: records were overwritten; the next read goes on behind
		}
		if err != nil {
			return fmt.Errorf("read /dev/kmsg: %w", err)
		}
		k.add(string(buf[:n]))
	}
	k.finish()
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	say(lineLog + string(text))
	return nil
}

// insertModules loads the initramfs's modules in their order.
func insertModules() error {
	list, err := os.ReadFile(loadModules)
	if err != nil {
		return err
	}
	for _, path := range strings.Fields(string(list)) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

// silenceEcho keeps the console from repeating what the host writes.
func silenceEcho() error {
	t, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(0, unix.TCSETS, t)
}

// findDisks returns the device of each disk by its serial number. Disks appear a moment after their driver.
func findDisks(names []string) (map[string]string, error) {
	found := map[string]string{}
	for range 100 {
		entries, err := os.ReadDir("/sys/block")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			serial, err := os.ReadFile("/sys/block/" + e.Name() + "/serial")
			if err == nil {
				found[string(bytes.TrimSpace(serial))] = "/dev/" + e.Name()
			}
		}
		missing := 0
		for _, n := range names {
			if found[n] == "" {
				missing++
			}
		}
		if missing == 0 {
			return found, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("disks %q: found only %v", names, found)
}

// errHostGone ends a guest whose monitor closed its input.
var errHostGone = errors.New("the host's end of the console is closed")

// awaitHost waits until the host has taken its samples.
func awaitHost(in *bufio.Reader) error {
	if _, err := in.ReadString('\n'); err != nil {
		return errHostGone
	}
	return nil
}
