package input

import (
	"bytes"
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
		return bounded("standard input", stdin, 0, MaxSize)
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
	return bounded(path, f, info.Size(), MaxSize)
}

// bounded reads all there is, which is likely to be of that size.
func bounded(name string, r io.Reader, size, most int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead) // what is grown step by step is copied again and again
	n, err := b.ReadFrom(io.LimitReader(r, most+1))
	if err == nil && n > most {
		err = tooLong(name, most)
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func tooLong(name string, most int64) error {
	return fmt.Errorf("%s is longer than %d MiB, and not read", name, most>>20)
}
