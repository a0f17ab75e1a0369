package initrd

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Dir("dev", 0o755)
	w.Dir("/tmp/", 0o1777)
	w.Dir("dev", 0o700) // there already
	w.Char("dev/console", 0o600, 5, 1)
	w.File("bin/a", 0o755, []byte("12345"))
	w.Symlink("bin/b", "a")
	w.File("empty", 0o644, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The reader of the archive is cpio itself.
func TestWriterIsReadByCpio(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	list := exec.Command(cpio, "-itv", "--quiet", "--numeric-uid-gid")
	list.Stdin = bytes.NewReader(sample(t))
	list.Env = []string{"LC_ALL=C", "TZ=UTC"}
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
		"drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp",
		"crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
		"drwxr-xr-x 2 0 0 0 Jan 1 1970 bin",
		"-rwxr-xr-x 1 0 0 5 Jan 1 1970 bin/a",
		"lrwxrwxrwx 1 0 0 1 Jan 1 1970 bin/b -> a",
		"-rw-r--r-- 1 0 0 0 Jan 1 1970 empty",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cpio -tv (-want +got):\n%s", diff)
	}
}

func TestWriterGivesContentBack(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	extract := exec.Command(cpio, "-i", "--quiet", "--to-stdout", "bin/a")
	extract.Stdin = bytes.NewReader(sample(t))
	out, err := extract.Output()
	if err != nil || string(out) != "12345" {
		t.Errorf("content of bin/a = %q, %v, want 12345", out, err)
	}
}

func TestWriterIsReproducible(t *testing.T) {
	if !bytes.Equal(sample(t), sample(t)) {
		t.Error("two archives of the same entries differ")
	}
	if n := len(sample(t)); n%4 != 0 {
		t.Errorf("the archive has %d bytes, want a multiple of 4", n)
	}
}

type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	w := NewWriter(&full{room: 200})
	w.File("a", 0o644, make([]byte, 300))
	w.File("b", 0o644, nil)
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close = %v, want %v", err, errFull)
	}
}
