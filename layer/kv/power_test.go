package kv

import (
	"bytes"
	"errors"
	"fmt"
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
device() { # the second NVDIMM is a device of its own ("ndctl create-namespace --mode devdax")
	if [ "$1" = make ]; then
		echo namespace1.0 >$nd/drivers/nd_pmem/unbind
		echo namespace1.0 >$nd/devices/dax1.0/namespace
		echo ram >$nd/devices/dax1.0/mode
		cat /proc/sys/kernel/random/uuid >$nd/devices/dax1.0/uuid
		echo dax1.0 >$nd/drivers/dax_pmem/bind
	fi
	ip netns add clients
	ip link add near type veth peer name far netns clients
	ip link set near up
	ip -n clients addr add 10.9.0.1/24 dev far
	ip -n clients link set far up
}
mkfifo /tmp/says
serve() { # DIR MEDIUM FLAGS: serve it, and print what the server says
	dir=$1 medium=$2
	shift 2
	usui-kv serve --dir $dir --medium $medium --listen 127.0.0.1:7777 --segment 1 "$@" >/tmp/says &
	read said </tmp/says
	echo "$said"
}
ask() { redis-cli -p 7777 "$@"; }
serveDevice() { serve /tmp/pmem/long fsdax --listen unix:/tmp/kv.sock --xdp near --xdp-address 10.9.0.77 --devdax /dev/dax1.0; }
askFar() { ip netns exec clients redis-cli -h 10.9.0.77 "$@"; }
bypass() { redis-cli -s /tmp/kv.sock info bypass | tr -d '\r' | grep -E "bypass_(bytes_(joined|merged|placed)|frames_with_values):"; }
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
device make
serveDevice
askFar set long "$(seq 400 | head -c 1202)"
askFar set gone "$(seq 400 | head -c 1202)"
bypass
askFar del gone
bypass
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
device
serveDevice
bypass
seq 400 | head -c 1202 >/tmp/want
askFar get long | head -c 1202 | cmp - /tmp/want && echo long is the same
kill $!
wait $!
`

// TestPersistentMemoryInTheLab boots a lab with an NVDIMM, twice.
func TestPersistentMemoryInTheLab(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-system-x86")
	need.Tool(t, "mkfs.ext4", "e2fsprogs")
	need.Tool(t, "redis-benchmark", "redis-tools")
	need.Tool(t, "ip", "iproute2")
	dir := t.TempDir()
	for _, program := range []string{"usui-init", "usui-kv"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "usui/cmd/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v: %s", err, out)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	dimms, results := []string{filepath.Join(dir, "nvdimm0"), filepath.Join(dir, "nvdimm1")}, filepath.Join(dir, "results")
	for _, d := range dimms {
		if err := errors.Join(os.WriteFile(d, nil, 0o600), os.Truncate(d, 128<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(results, 0o700); err != nil {
		t.Fatal(err)
	}
	boot := func(script string, args ...string) (int, string, error) {
		var out bytes.Buffer
		status, err := lab.Run(t.Context(),
			lab.Config{Init: filepath.Join(dir, "usui-init"), NVDIMM: dimms, Results: results, Timeout: powerLimit},
			lab.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}, attach.Stdio{Stdout: &out, Stderr: &out})
		t.Logf("the lab says:\n%s", out.String())
		return status, out.String(), err
	}
	status, out, err := boot(writeAndCut, "make")
	if !errors.Is(err, attach.ErrEnded) {
		t.Fatalf("the first lab ended with status %d, %v; want that its power was cut", status, err)
	}
	const placed = "bypass_bytes_joined:0\nbypass_bytes_placed:2404\nbypass_frames_with_values:%d\nbypass_bytes_merged:0\n"
	for _, frames := range []int{2, 1} {
		if want := fmt.Sprintf(placed, frames); !strings.Contains(out, want) {
			t.Errorf("values on the device: want %q", want)
		}
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
	status, out, err = boot(lookAgain)
	if want := "bypass_frames_with_values:1\nbypass_bytes_merged:0\nlong is the same\n"; !strings.Contains(out, want) {
		t.Errorf("the device after a power cut: want %q", want)
	}
	if want := "serving /tmp/pmem/store in persistent memory at 127.0.0.1:7777\nvalue\n10\n5000\n"; status != 0 || err != nil || !strings.Contains(out, want) {
		t.Errorf("after a power cut: status %d, %v, want %q", status, err, want)
	}
}
