package input

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file, sparse := filepath.Join(dir, "file"), filepath.Join(dir, "sparse")
	if err := os.WriteFile(file, []byte("module"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(file, nil); err != nil || string(b) != "module" {
		t.Errorf("Read of a file: %q, %v", b, err)
	}
	if b, err := Read("-", strings.NewReader("piped")); err != nil || string(b) != "piped" {
		t.Errorf("Read of standard input: %q, %v", b, err)
	}
	for path, want := range map[string]string{
		sparse: "sparse is longer than 1024 MiB, and not read", "/dev/zero": "/dev/zero is a device", dir: "is a directory",
	} {
		if _, err := Read(path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Read(%q): error %v, want %q in it", path, err, want)
		}
	}
	if _, err := Read(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of nothing: error %v", err)
	}
	if _, err := bounded("a pipe", zeros{}, 0, 1<<20); err == nil || err.Error() != "a pipe is longer than 1 MiB, and not read" {
		t.Errorf("bounded: error %v", err)
	}
}
