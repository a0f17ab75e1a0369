package pid1

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/physmem"
	"usui/internal/pid1/wire"
)

// Marker is the first line that init writes to the console. Benchmarks of several monitors look for it.
const Marker = "usui-init: up"

// markerOnly on the kernel command line makes init end the machine right after [Marker].
const markerOnly = "usui.marker-only"

// How long a session gives to the processes that outlive the command, see [Config].
const (
	drainTime = 2 * time.Second
	stopTime  = 5 * time.Second
)

// settleTime bounds unmounting: the server of a network file system may be gone, and the kernel waits for it for ever.
const settleTime = 30 * time.Second

// Main is the whole life of a guest's first process. It returns, with an error, only when it is not the first process.
func Main() error {
	if os.Getpid() != 1 {
		return errors.New("usui-init is the first process of a guest and does nothing elsewhere")
	}
	defer rescue()
	boot := uptime()
	openConsole()
	console(Marker)
	quit := handleSignals()
	err := live(boot, quit)
	if err != nil {
		console("usui-init: " + err.Error())
	}
	var q QuitError
	if errors.As(err, &q) && (q.Signal == unix.SIGTERM || q.Signal == unix.SIGINT) {
		restart()
	}
	powerOff()
	return nil
}

// handleSignals returns the signals with which busybox's poweroff, halt and reboot (its init/halt.c), a failing power
// supply and Ctrl-Alt-Del ask the first process for the end. All others are caught and dropped: what ends an ordinary Go
// program must not end this one. To ignore them instead would make all children ignore them.
func handleSignals() <-chan os.Signal {
	signal.Notify(make(chan os.Signal, 1))
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPWR, unix.SIGTERM, unix.SIGINT)
	return quit
}

// live is all between the marker and the power-off. Its error goes to the console, the one way out that is always there.
func live(boot time.Duration, quit <-chan os.Signal) error {
	hello := wire.Hello{Protocol: wire.Protocol, Init: boot}
	if err := mountAll(); err != nil {
		return err
	}
	if cmdlineHas(markerOnly) {
		return nil
	}
	hello.Mounts = uptime()
	remarks := loadModules(moduleList)
	if err := loadDriversOfNewcomers(pciDevices, deviceLists); err != nil {
		remarks = append(remarks, err.Error())
	}
	remarks = append(remarks, loadDeviceModules(pciDevices, deviceLists)...)
	hello.Modules = uptime()
	for _, prepare := range []func() error{raiseLoopback, raiseLimits} {
		if err := prepare(); err != nil {
			remarks = append(remarks, err.Error())
		}
	}
	ports, err := openPorts()
	if err != nil {
		return errors.Join(append([]error{err}, asErrors(remarks)...)...)
	}
	defer ports.Close()
	hello.Control = uptime()
	describe(&hello)
	return Serve(ports, Config{
		Hello:   hello,
		Remarks: remarks,
		Do:      do,
		Kill:    killAll,
		Settle:  func() []string { return within(settleTime, settle) },
		Quit:    quit,
		Drain:   drainTime,
		Stop:    stopTime,
	})
}

// describe fills in what the kernel says of itself.
func describe(h *wire.Hello) {
	var u unix.Utsname
	if unix.Uname(&u) == nil { // fails for a bad pointer only
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	h.MemoryBytes, _ = physmem.Total() // ditto
	h.CPUs = runtime.NumCPU()
}

// uptime is the time since the kernel's clock began.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// cmdlineHas reports whether word stands on the kernel command line.
func cmdlineHas(word string) bool {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return false
	}
	for _, w := range strings.Fields(string(line)) {
		if w == word {
			return true
		}
	}
	return false
}

func asErrors(texts []string) []error {
	list := make([]error, len(texts))
	for i, t := range texts {
		list[i] = errors.New(t)
	}
	return list
}

// guarded starts f as a goroutine whose panic is seen.
func guarded(f func()) {
	go func() {
		defer rescue()
		f()
	}()
}

// rescue prints a panic of PID 1 and ends the machine: if the first process just died, the kernel would panic and bury
// the cause. In any other process the panic goes on.
func rescue() {
	v := recover()
	if v == nil {
		return
	}
	if os.Getpid() != 1 {
		panic(v)
	}
	console(fmt.Sprintf("usui-init: panic: %v\n%s", v, debug.Stack()))
	powerOff()
}
