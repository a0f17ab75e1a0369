package pid1

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// reap takes the status of every child that ended, the command and orphans alike.
func (s *session) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			if s.childless != nil {
				close(s.childless)
				s.childless = nil
			}
			return
		case err != nil || pid == 0:
			return
		case s.cmd != nil && pid == s.cmd.pid:
			s.cmd.ended(ws)
		}
	}
}

// killTime bounds the wait for processes after SIGKILL. Only one that the kernel does not let go needs any.
const killTime = 10 * time.Second

// stopProcesses ends all other processes, first as asked, then by force, and returns when the last is reaped or the time
// is up.
func (s *session) stopProcesses() error {
	for _, by := range []struct {
		sig   unix.Signal
		limit time.Duration
	}{{unix.SIGTERM, s.cfg.Stop}, {unix.SIGKILL, killTime}} {
		none := make(chan struct{})
		s.childless = none
		s.reap()
		select {
		case <-none:
			return nil
		default:
		}
		if err := s.cfg.Kill(by.sig); err != nil {
			return fmt.Errorf("send %s to all processes: %w", unix.SignalName(by.sig), err)
		}
		if err := s.wait(none, by.limit); err != nil {
			return err
		}
	}
	return nil
}
