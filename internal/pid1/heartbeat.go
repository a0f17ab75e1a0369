package pid1

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// heartbeatPeriod is for how long a CPU may miss an interrupt.
const heartbeatPeriod = time.Second

// heartbeat has CPUs wake each other for the guest's life. An emulated processor may lose an interrupt (see package lab): a CPU that sleeps
// and lost that of its timer would sleep for ever, and with it whoever waits for its tasks. An interrupt from another CPU is one that
// finds the lost one pending.
func heartbeat() error {
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	var bells []int
	for range cpus.Count() {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return os.NewSyscallError("eventfd", err)
		}
		bells = append(bells, fd)
	}
	failed := make(chan error, len(bells))
	for cpu, mine := 0, 0; mine < len(bells); cpu++ {
		if !cpus.IsSet(cpu) {
			continue
		}
		go func(mine int) { // ends with the guest
			runtime.LockOSThread()
			var one unix.CPUSet
			one.Set(cpu)
			err := unix.SchedSetaffinity(0, &one)
			failed <- err
			for err == nil {
				err = beat(bells, mine, heartbeatPeriod)
			}
		}(mine)
		mine++
	}
	for range bells {
		if err := <-failed; err != nil {
			return fmt.Errorf("move a thread to another CPU: %w", err)
		}
	}
	return nil
}

// beat waits until a bell rings, and rings all others if it did not within the period: so whichever CPU's timer works wakes
// those whose do not.
func beat(bells []int, mine int, period time.Duration) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(bells[mine]), Events: unix.POLLIN}}, int(period.Milliseconds()))
	switch {
	case err == unix.EINTR:
		return nil
	case err != nil:
		return os.NewSyscallError("poll", err)
	case n > 0:
		var count [8]byte
		_, err := unix.Read(bells[mine], count[:])
		return os.NewSyscallError("read", err)
	}
	for i, bell := range bells {
		if i == mine {
			continue
		}
		if _, err := unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil && err != unix.EAGAIN { // EAGAIN: nobody has answered 2^64 rings
			return os.NewSyscallError("write", err)
		}
	}
	return nil
}
