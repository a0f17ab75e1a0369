package cli

import (
	"os"
	"path/filepath"
	"syscall"
)

// Service is a program of its own, PROGRAM-NAME, that stands beside the running one: a capability whose
// libraries are too large to be linked into it.
type Service struct{ Name, Short string }

// Services returns commands for those of the list whose binary is there. Such a command replaces the
// running program by the service, with all arguments untouched, as git does for its own.
func Services(program string, list ...Service) []Command {
	self, err := os.Executable()
	if err != nil {
		return nil // without a path there is no beside
	}
	return servicesIn(filepath.Dir(self), program, list)
}

func servicesIn(dir, program string, list []Service) []Command {
	var commands []Command
	for _, s := range list {
		path := filepath.Join(dir, program+"-"+s.Name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			commands = append(commands, Command{Name: s.Name, Short: s.Short, service: path})
		}
	}
	return commands
}

// startService replaces this program; it returns only if that fails.
func startService(path string, args []string) error {
	err := syscall.Exec(path, append([]string{path}, args...), os.Environ())
	return &os.PathError{Op: "exec", Path: path, Err: err}
}
