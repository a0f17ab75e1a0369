package input

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxSize is the largest module that browsers read (WebAssembly JavaScript Interface, implementation limits).
const MaxSize = 1 << 30

// Read reads the file of that path; "-" is stdin, unless that is nil.
func Read(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" && stdin != nil {
		return bounded("standard input", stdin, MaxSize)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeDevice != 0:
		return nil, fmt.Errorf("%s is a device: name a file or a pipe", path)
	case info.Mode().IsRegular() && info.Size() > MaxSize:
		return nil, tooLong(path, MaxSize)
	}
	return bounded(path, f, MaxSize)
}

// bounded reads all there is.
func bounded(name string, r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = tooLong(name, most)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func tooLong(name string, most int64) error {
	return fmt.Errorf("%s is longer than %d MiB, and not read", name, most>>20)
}
