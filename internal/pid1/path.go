package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotFound is the cause when no directory of PATH has the program.
var errNotFound = errors.New("command not found")

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment completes env with the two variables that hardly a program does without.
func environment(env []string) []string {
	env = append([]string(nil), env...)
	if lookup(env, "PATH") == "" {
		env = append(env, "PATH="+defaultPath)
	}
	if lookup(env, "HOME") == "" {
		env = append(env, "HOME=/root")
	}
	return env
}

func lookup(env []string, name string) string {
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}

// lookPath finds the file that a shell in dir would execute. If there is none its error is errNotFound, or says why the
// first that was found will not do.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(absolute(name, dir))
	}
	found := errNotFound
	for _, d := range strings.Split(lookup(env, "PATH"), ":") {
		file := absolute(d, dir) + "/" + name
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if found == errNotFound && err != unix.ENOENT && err != unix.ENOTDIR {
			found = err
		}
	}
	return "", found
}

func absolute(name, dir string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return dir + "/" + name
}

func executable(file string) error {
	fi, err := os.Stat(file)
	var cause *os.PathError
	switch {
	case errors.As(err, &cause):
		return cause.Err
	case fi.IsDir():
		return unix.EISDIR
	case fi.Mode()&0o111 == 0:
		return unix.EACCES
	}
	return nil
}

// enterable says what is wrong with a working directory. execve(2) would give the same errors as for the program.
func enterable(dir string) error {
	fi, err := os.Stat(dir)
	if err == nil && !fi.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		// Not wrapped: a missing directory is no missing program.
		return fmt.Errorf("working directory: %v", err)
	}
	return nil
}
