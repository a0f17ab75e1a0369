package blind

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// output is where a module goes that holds keys: into a file for this user alone, or through a pipe or a device that is there.
type output struct {
	path string
	to   io.Writer // nil: the file of that path, which is made or replaced
}

// openOutput looks at what a path names, before there is anything to write. "-" is standard output.
func openOutput(path string, stdout io.Writer) (output, error) {
	if path == "-" {
		return output{to: stdout}, refuseTerminal(stdout, "standard output")
	}
	info, err := os.Stat(path)
	link, lerr := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return output{}, fmt.Errorf("%s is a folder: name a file in it", path)
	case err == nil && info.Mode()&(fs.ModeCharDevice|fs.ModeNamedPipe) != 0:
		f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody reads is an error, and no wait
		if err != nil {
			return output{}, err
		}
		return output{to: f}, refuseTerminal(f, path)
	case lerr == nil && link.Mode()&fs.ModeSymlink != 0:
		return output{}, fmt.Errorf("%s is a symbolic link: name the file it leads to, or - for standard output", path)
	case err == nil && !info.Mode().IsRegular():
		return output{}, fmt.Errorf("%s is neither a file nor a pipe nor a character device: name a file", path)
	}
	return output{path: path}, nil
}

// refuseTerminal keeps keys, and bytes that move the cursor, from the screen.
func refuseTerminal(w io.Writer, name string) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode()&fs.ModeCharDevice != 0 && ofTerminals(s.Rdev) {
		return fmt.Errorf("%s is a terminal: send it to a file or a program", name)
	}
	return nil
}

// ofTerminals reports whether a character device is a terminal, by its major number (Documentation/admin-guide/devices.txt).
func ofTerminals(device uint64) bool {
	major := device >> 8 & 0xfff
	return major == 4 || major == 5 || 136 <= major && major <= 143
}

// write writes the module. A file is there whole or not at all.
func (o output) write(module []byte) (err error) {
	if o.to != nil {
		_, err := o.to.Write(module)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(o.path), "."+filepath.Base(o.path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(module)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), o.path)
}
