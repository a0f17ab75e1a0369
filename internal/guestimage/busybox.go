package guestimage

import (
	"bytes"
	"fmt"
	"os"

	"usui/internal/initrd"
)

// AddBusybox adds a static busybox as /bin/busybox, with a link beside for each of its commands, and lets the other folders of
// programs point to /bin.
func AddBusybox(w *initrd.Writer, path string) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	commands, err := applets(program)
	if err != nil {
		return fmt.Errorf("busybox %s: %w", path, err)
	}
	w.File("bin/busybox", 0o755, program)
	for _, name := range commands {
		if name != "busybox" { // a command too, where it is not to become a link to itself
			w.Symlink("bin/"+name, "busybox")
		}
	}
	w.Symlink("sbin", "bin")
	w.Symlink("usr/bin", "../bin")
	w.Symlink("usr/sbin", "../bin")
	return nil
}

// applets lists the commands in a busybox by its table of their names: they follow each other, each ends with a zero byte, and an
// empty one ends the table. "[" and "[[" sort first. It works for a busybox that this host cannot run.
func applets(program []byte) ([]string, error) {
	start := bytes.Index(program, []byte("[\x00[[\x00"))
	if start < 0 {
		return nil, fmt.Errorf("no table of commands in it")
	}
	var names []string
	for rest := program[start:]; ; {
		name, after, found := bytes.Cut(rest, []byte{0})
		if !found || !isCommand(name) {
			return nil, fmt.Errorf("its table of commands is broken after %d names", len(names))
		}
		names = append(names, string(name))
		if rest = after; len(rest) == 0 || rest[0] == 0 {
			return names, nil
		}
	}
}

// isCommand reports whether a name can be a file in /bin.
func isCommand(name []byte) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.["
	return len(name) > 0 && len(name) < 64 && name[0] != '.' && len(bytes.Trim(name, letters)) == 0
}
