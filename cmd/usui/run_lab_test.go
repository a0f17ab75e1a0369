package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usui/host/need"
	"usui/internal/lab"
)

// program is the binary under test, as make build leaves it: the default guest is found by it.
const program = "../../bin/usui"

// patience ends a guest that hangs, as the lab's processor has it now and then: then the test fails, and is run once more. What works takes
// less than a minute.
func patience(t *testing.T) context.Context {
	ctx, stop := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("the guest hangs"))
	t.Cleanup(stop)
	return ctx
}

// guestRun is one call of "usui run" on a KVM that works.
type guestRun struct {
	args   []string
	stdin  io.Reader
	status int
	stdout []byte
	stderr []byte
}

// run calls the program and fails the test unless it ends with the status that is wanted.
func (r *guestRun) run(t *testing.T) {
	t.Helper()
	need.Lab(t, lab.KVM)
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patience(t), path, append([]string{"run", "--no-lab"}, r.args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.stdin, &stdout, &stderr
	err = cmd.Run()
	r.stdout, r.stderr = stdout.Bytes(), stderr.Bytes()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != r.status {
		t.Fatalf("%q: exit status %d, want %d; stderr:\n%s", r.args, got, r.status, r.stderr)
	}
}

// TestLabCommandKeepsItsStreams sends 16 MiB of noise through a guest with two CPUs and takes everything back.
func TestLabCommandKeepsItsStreams(t *testing.T) {
	noise := make([]byte, 16<<20)
	rand.Read(noise)
	script := `head -c 16777216; echo "cpus $(nproc)" >&2; head -1 /proc/meminfo >&2; exit 7`
	r := guestRun{args: []string{"--cpus", "2", "--", "sh", "-c", script}, stdin: bytes.NewReader(noise), status: 7}
	r.run(t)
	if !bytes.Equal(r.stdout, noise) {
		t.Errorf("stdout: %d bytes, SHA-256 %x; want what went in, %d bytes, %x", len(r.stdout), sha256.Sum256(r.stdout), len(noise), sha256.Sum256(noise))
	}
	if got := string(r.stderr); !strings.Contains(got, "cpus 2\n") || !strings.Contains(got, "MemTotal:") {
		t.Errorf("stderr = %q, want two CPUs and the memory", got)
	}
}

// TestLabGuestWritesADisk has the guest write a file system, and checks it with the host's tools.
func TestLabGuestWritesADisk(t *testing.T) {
	need.Lab(t, lab.KVM)
	dir := t.TempDir()
	image, readOnly := filepath.Join(dir, "d.img"), filepath.Join(dir, "ro.img")
	for _, path := range []string{image, readOnly} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 64<<20); err != nil {
			t.Fatal(err)
		}
	}
	host(t, "mkfs.ext4", "-q", image)
	script := `set -e
mount -t ext4 /dev/vda /mnt
head -c 20000000 /dev/urandom >/mnt/file
sync
sha256sum </mnt/file
umount /mnt
[ "$(cat /sys/block/vdb/ro)" = 1 ]
[ "$(ls /sys/block/vda/mq | wc -l) $(ls /sys/block/vdb/mq | wc -l)" = "2 1" ]
if echo x >/dev/vdb 2>/dev/null; then exit 3; fi`
	r := guestRun{args: []string{"--cpus", "2", "--disk", image + ",iops=100000", "--disk", readOnly + ",queues=1,ro", "--", "sh", "-c", script}}
	r.run(t)
	host(t, "e2fsck", "-fn", image)
	dump := filepath.Join(dir, "file")
	host(t, "debugfs", "-R", "dump /file "+dump, image)
	content, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if want, _, _ := strings.Cut(string(r.stdout), " "); len(content) != 20000000 || hex.EncodeToString(sum[:]) != want {
		t.Errorf("file on the image: %d bytes, SHA-256 %x; the guest wrote 20000000, %s", len(content), sum, want)
	}
}

// host runs a tool of the host.
func host(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

func TestLabGenericKernelBoots(t *testing.T) {
	r := guestRun{args: []string{"--guest", "generic", "--", "uname", "-r"}}
	r.run(t)
	if got := string(r.stdout); strings.Contains(got, "cloud") || !strings.HasSuffix(got, "-amd64\n") {
		t.Errorf("kernel release = %q, want a generic one", got)
	}
}

func TestLabGuestsEndsHaveStatusesOfTheirOwn(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"--", "poweroff", "-f"}, 1, "power-off"},
		{[]string{"--", "reboot", "-f"}, 120, "reset"},
		{[]string{"--", "sh", "-c", "echo c >/proc/sysrq-trigger"}, 121, "sysrq triggered crash"},
		{[]string{"--cmdline", "rdinit=/absent", "--", "true"}, 121, "Kernel panic - not syncing"}, // before pvpanic has a driver
		{[]string{"--cmdline", "reboot=triple", "--", "reboot", "-f"}, 122, "triple fault"},
	} {
		r := guestRun{args: tt.args, status: tt.status}
		r.run(t)
		if got := string(r.stderr); !strings.Contains(got, tt.stderr) {
			t.Errorf("%q: stderr = %q, want %q", tt.args, got, tt.stderr)
		}
	}
}
