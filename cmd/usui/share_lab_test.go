package main_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/internal/lab"
)

// TestLabShareIsReadAndWritten has a stock guest use two folders, and then one of them read-only against its will.
func TestLabShareIsReadAndWritten(t *testing.T) {
	need.Tool(t, "virtiofsd", "qemu-system-common")
	dir := t.TempDir()
	rw, ro := filepath.Join(dir, "work"), filepath.Join(dir, "kept")
	content := make([]byte, 3<<20)
	rand.Read(content)
	for _, folder := range []string{rw, ro} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "noise"), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := `set -e
cd /share/work
sha256sum <noise
mkdir -p a/b
tac noise 2>/dev/null >a/b/backwards || cp noise a/b/backwards
mv a/b c
ln -s c/backwards link
chmod 600 noise
rm -r a
i=0; while [ $i -lt 100 ]; do echo $i >c/$i; i=$((i+1)); done
sha256sum <link
cd /
sha256sum </share/k/noise
! touch /share/k/made 2>/dev/null
mount -o remount,rw /share/k
touch /share/k/made`
	r := guestRun{args: []string{"--share", rw, "--share", ro + ":k,ro", "--", "sh", "-c", script}, status: 1}
	r.run(t)
	if !strings.Contains(string(r.stderr), "Read-only file system") {
		t.Errorf("stderr = %q, want that the guest cannot write, whatever it mounts", r.stderr)
	}
	copied, err := os.ReadFile(filepath.Join(rw, "link"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x  -\n%x  -\n%[1]x  -\n", sha256.Sum256(content), sha256.Sum256(copied))
	if string(r.stdout) != want {
		t.Errorf("the guest read\n%s, want\n%s", r.stdout, want)
	}
	if made, err := filepath.Glob(filepath.Join(rw, "c", "*")); len(made) != 101 || err != nil {
		t.Errorf("%d files in the guest's folder, %v; want 101", len(made), err)
	}
	if info, err := os.Stat(filepath.Join(rw, "noise")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v; want 0600", info, err)
	}
	if entries, err := os.ReadDir(ro); len(entries) != 1 || err != nil {
		t.Errorf("the read-only folder has %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(rw, "a")); err == nil {
		t.Errorf("a folder that the guest removed is there: %v", info)
	}
}

// TestLabShareCompiles has a guest compile a program with the host's compiler, which it has by one folder, into another one.
func TestLabShareCompiles(t *testing.T) {
	need.Tool(t, "virtiofsd", "qemu-system-common")
	need.Tool(t, "gcc", "gcc")
	out := t.TempDir()
	program := "#include <stdio.h>\nint main(void) { puts(\"made in a guest\"); return 0; }\n"
	if err := os.WriteFile(filepath.Join(out, "a.c"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `set -e
mount -t tmpfs tmpfs /share/root/tmp
mkdir /share/root/tmp/out
mount --bind /share/out /share/root/tmp/out
mount --bind /dev /share/root/dev
PATH=/usr/bin:/bin chroot /share/root gcc -O2 -o /tmp/out/a /tmp/out/a.c
chroot /share/root /tmp/out/a`
	r := guestRun{args: []string{"--share", "/,ro", "--share", out + ":out", "--", "sh", "-c", script}}
	r.run(t)
	if string(r.stdout) != "made in a guest\n" {
		t.Errorf("stdout = %q; stderr:\n%s", r.stdout, r.stderr)
	}
	if words, err := exec.CommandContext(t.Context(), filepath.Join(out, "a")).Output(); string(words) != "made in a guest\n" || err != nil {
		t.Errorf("on the host it says %q, %v", words, err)
	}
}

// TestLabShareLosesVirtiofsd kills virtiofsd below a running guest: accesses fail, nothing hangs, and the machine ends as usual.
func TestLabShareLosesVirtiofsd(t *testing.T) {
	need.Lab(t, lab.KVM)
	need.Tool(t, "virtiofsd", "qemu-system-common")
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	script := `ls /share/s >/dev/null || exit 2
echo ready
read word
cat /share/s/file && exit 3
echo x >/share/s/other && exit 4
umount /share/s
mount -t virtiofs s /mnt
ls /mnt && exit 5
exit 6`
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patience(t), path, "run", "--no-lab", "--share", folder+":s", "--", "sh", "-c", script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Errorf("the guest says %q, %v", line, err)
	}
	killed := 0
	for _, pid := range servers(t, cmd.Process.Pid) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
		killed++
	}
	fmt.Fprintln(in, "go on")
	err = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 6 || killed != 1 {
		t.Errorf("status %d, %v after %d servers were killed, want 6 after one; stderr:\n%s", got, err, killed, &words)
	}
	if text := words.String(); strings.Count(text, "Transport endpoint is not connected") < 2 || strings.Count(text, "is gone") != 1 {
		t.Errorf("stderr, want the guest's errors and one line of the monitor:\n%s", text)
	}
}

// servers are the virtiofsd processes that a process started.
func servers(t *testing.T, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		name, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); strings.Contains(name, "(virtiofsd") && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
