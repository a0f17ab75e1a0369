package blind

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOutputGoesThroughWhatIsThere: pipes and devices stay what they are, and only files are replaced.
func TestOutputGoesThroughWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	pipe, null, file, link, dangling := filepath.Join(dir, "pipe"), filepath.Join(dir, "null"), filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	for _, err := range []error{
		syscall.Mkfifo(pipe, 0o600), os.Symlink("/dev/null", null), os.WriteFile(file, []byte("old"), 0o644), os.Symlink("file", link), os.Symlink("absent", dangling),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openOutput(pipe, nil); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("a pipe that nobody reads: %v, want %v", err, syscall.ENXIO)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var stdout bytes.Buffer
	for _, path := range []string{pipe, null, file, "-"} {
		out, err := openOutput(path, &stdout)
		if err == nil {
			err = out.write([]byte("new"))
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	got := make([]byte, 8)
	if n, err := reader.Read(got); string(got[:n]) != "new" || err != nil {
		t.Errorf("the pipe has %q, %v", got[:n], err)
	}
	if stdout.String() != "new" {
		t.Errorf("standard output has %q", stdout.String())
	}
	for path, want := range map[string]fs.FileMode{pipe: fs.ModeNamedPipe | 0o600, file: 0o600, null: fs.ModeSymlink | 0o777} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s is %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	for path, want := range map[string]string{dir: "is a folder", link: "is a symbolic link", dangling: "is a symbolic link", "/dev/ptmx": "is a terminal"} {
		if _, err := openOutput(path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("openOutput(%q): %v, want %q in it", path, err, want)
		}
	}
}
