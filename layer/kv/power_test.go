package kv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usui/host/need"
	"usui/internal/attach"
	"usui/internal/lab"
)

// powerLimit bounds a lab that hangs. It is no measure.
const powerLimit = 5 * time.Minute

// mountPersistent makes a file system on the lab's NVDIMM, or mounts the one that is there. An NVDIMM without a label is a disk at first; the
// pfn device beside it gives its pages to DAX (drivers/nvdimm/pfn_devs.c; what "ndctl create-namespace --mode fsdax" does).
const mountPersistent = `set -e
nd=/sys/bus/nd
if [ "$1" = make ]; then
	echo namespace0.0 >$nd/drivers/nd_pmem/unbind
	echo namespace0.0 >$nd/devices/pfn0.0/namespace
	echo pmem >$nd/devices/pfn0.0/mode
	cat /proc/sys/kernel/random/uuid >$nd/devices/pfn0.0/uuid
	echo pfn0.0 >$nd/drivers/nd_pmem/bind
	mkfs.ext4 -q -b 4096 /dev/pmem0
fi
mkdir /tmp/pmem
mount -o dax=always /dev/pmem0 /tmp/pmem
store=/tmp/pmem/store
mkfifo /tmp/says
serve() { # DIR MEDIUM: serve it, and print what the server says
	usui-kv serve --dir $1 --medium $2 --listen 127.0.0.1:7777 --segment 1 >/tmp/says &
	read said </tmp/says
	echo "$said"
}
ask() { redis-cli -p 7777 "$@"; }
`

// writeAndCut serves from persistent memory until the log only uses files that it has, counts the system calls of a round of writes, does
// the same with system calls to see that they would have been counted, and cuts the power right after an acknowledged write.
const writeAndCut = mountPersistent + `
trace=/sys/kernel/tracing
mount -t tracefs tracefs $trace
for call in fsync fdatasync msync sync_file_range pwrite64 pwritev pwritev2; do
	echo 1 >$trace/events/syscalls/sys_enter_$call/enable
done
write() { redis-benchmark -p 7777 -t set -d 60000 -r 10 -c 8 -P 2 -n $1 -q >/dev/null; }
files() { ls $1 | grep -c segment; }
calls() { # NAME DIR: writes until no file was made meanwhile, and what was called then
	write 300
	while before=$(files $2); echo >$trace/trace; write 200; [ $(files $2) != $before ]; do :; done
	grep 'usui-kv-' $trace/trace >$USUI_RESULTS/$1 || true
}
serve $store auto
calls fsdax $store
ask set small value
ask set last "$(head -c 5000 /dev/zero | tr '\0' x)"
ask set count 0
for i in 1 2 3 4 5 6 7 8 9; do ask incr count; done
kill $!
wait $!
serve /tmp/pmem/other file
calls file /tmp/pmem/other
kill $!
wait $!
serve $store fsdax
ask incr count
echo b >/proc/sysrq-trigger
`

// lookAgain checks what a power cut left, and reads it.
const lookAgain = mountPersistent + `
usui-kv check $store
serve $store auto
ask get small
ask get count
ask strlen last
ask dbsize
kill $!
wait $!
`

// TestPersistentMemoryInTheLab boots a lab with an NVDIMM, twice.
func TestPersistentMemoryInTheLab(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-system-x86")
	need.Tool(t, "mkfs.ext4", "e2fsprogs")
	need.Tool(t, "redis-benchmark", "redis-tools")
	dir := t.TempDir()
	for _, program := range []string{"usui-init", "usui-kv"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "usui/cmd/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v: %s", err, out)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	dimm, results := filepath.Join(dir, "nvdimm"), filepath.Join(dir, "results")
	if err := errors.Join(os.WriteFile(dimm, nil, 0o600), os.Truncate(dimm, 128<<20), os.Mkdir(results, 0o700)); err != nil {
		t.Fatal(err)
	}
	boot := func(script string, args ...string) (int, string, error) {
		var out bytes.Buffer
		status, err := lab.Run(t.Context(),
			lab.Config{Init: filepath.Join(dir, "usui-init"), NVDIMM: []string{dimm}, Results: results, Timeout: powerLimit},
			lab.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}, attach.Stdio{Stdout: &out, Stderr: &out})
		t.Logf("the lab says:\n%s", out.String())
		return status, out.String(), err
	}
	status, _, err := boot(writeAndCut, "make")
	if !errors.Is(err, attach.ErrEnded) {
		t.Fatalf("the first lab ended with status %d, %v; want that its power was cut", status, err)
	}
	called := func(name string) string {
		p, err := os.ReadFile(filepath.Join(results, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(p)
	}
	if calls := called("fsdax"); calls != "" {
		t.Errorf("writes to persistent memory called\n%s, want no system call", calls)
	}
	if calls := called("file"); !strings.Contains(calls, "sys_fdatasync(") || !strings.Contains(calls, "sys_pwrite64(") {
		t.Errorf("writes by system calls called\n%s, want pwrite64 and fdatasync: what counts them does not work", calls)
	}
	status, out, err := boot(lookAgain)
	if want := "serving /tmp/pmem/store in persistent memory at 127.0.0.1:7777\nvalue\n10\n5000\n"; status != 0 || err != nil || !strings.Contains(out, want) {
		t.Errorf("after a power cut: status %d, %v, want %q", status, err, want)
	}
}
