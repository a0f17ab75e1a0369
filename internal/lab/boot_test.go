package lab

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usui/internal/attach"
)

// bootTimeout bounds a lab that hangs. It is no measure: on a busy host the emulated machine is many times slower.
const bootTimeout = 5 * time.Minute

// needQEMU skips the test where the lab of arch cannot run, in the words of host/need, which is a stratum above.
func needQEMU(t *testing.T, arch string) {
	t.Helper()
	m := machines(arch)
	if _, err := findProgram(m); err != nil {
		if slices.Contains(strings.Split(os.Getenv("USUI_MUST_HAVE"), ","), "tool:"+m.program) {
			t.Fatal(err)
		}
		t.Skipf("need tool:%s: %v", m.program, err)
	}
}

// buildInit builds the guest's init for an architecture.
func buildInit(t *testing.T, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usui-init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "usui/cmd/usui-init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}

// boot runs a shell script in a lab and returns what it wrote.
func bootScript(t *testing.T, cfg Config, script string, stdin []byte) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs, verbose bytes.Buffer
	cfg.Timeout, cfg.Verbose = bootTimeout, &verbose
	status, err := Run(t.Context(), cfg, Command{Argv: []string{"/bin/sh", "-c", script}},
		attach.Stdio{Stdin: bytes.NewReader(stdin), Stdout: &out, Stderr: &errs})
	t.Logf("phases:\n%s", verbose.String())
	if err != nil {
		t.Fatalf("Run: %v\n%s", err, errs.String())
	}
	return status, out.String(), errs.String()
}

// facts is the part of the test that runs inside: each fact on stderr, and stdin to stdout.
const facts = `
fact() { echo "$1=$2" >&2; }
fact kernel "$(uname -r)"; fact cpus "$(nproc)"; fact pwd "$(pwd)"; fact features "$USUI_LAB"; fact env "$USUI_TEST_ENV"
for node in kvm net/tun vhost-net loop-control vfio/vfio; do [ -c /dev/$node ] && fact node $node; done
for node in nvme0n1 sda pmem0 vda; do [ -b /dev/$node ] && fact node $node; done
[ -d /sys/class/net/eth0 ] && fact node eth0
fact nested "$(cat /sys/module/kvm_amd/parameters/npt)"
fact groups "$(ls /sys/kernel/iommu_groups | wc -l)"
( : >/etc/usui-lab-test ) 2>/dev/null && fact root writable || fact root read-only
echo x >/tmp/x && fact tmp "$(ls /tmp)"
modprobe dummy && fact modprobe "$(grep -c '^dummy ' /proc/modules)"
[ -b "$DISK" ] && printf written | dd of="$DISK" conv=notrunc,fsync status=none && fact disk written
( printf x | dd of="$READONLY" conv=notrunc status=none ) 2>/dev/null && fact read-only-disk writable || fact read-only-disk kept
echo result >"$USUI_RESULTS/file" && fact results written
cat
exit 7
`

func TestBootNativeLab(t *testing.T) {
	if HostArch != "amd64" {
		t.Skip("the devices are those of an amd64 lab")
	}
	needQEMU(t, "amd64")
	dir := t.TempDir()
	disk, readOnly := filepath.Join(dir, "d.img"), filepath.Join(dir, "r.img")
	write(t, disk, strings.Repeat(".", 1<<20))
	write(t, readOnly, strings.Repeat(".", 1<<20))
	t.Setenv("DISK", disk)
	t.Setenv("READONLY", readOnly)
	t.Setenv("USUI_TEST_ENV", "from the host")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	stdin := make([]byte, 4<<20)
	if _, err := rand.Read(stdin); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Init: buildInit(t, "amd64"), Scratch: true, Results: filepath.Join(dir, "results"), Disks: []Disk{{Path: disk}, {readOnly, true}}}
	if err := os.Mkdir(cfg.Results, 0o755); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := bootScript(t, cfg, facts, stdin)
	if status != 7 {
		t.Errorf("status = %d, want the command's own, 7", status)
	}
	if stdout != string(stdin) {
		t.Errorf("%d bytes came back of %d bytes of stdin, or other ones", len(stdout), len(stdin))
	}
	for _, want := range []string{
		"kernel=6.12.", "cpus=2\n", "pwd=" + here + "\n", "features=kvm,iommu,nvme,ahci,e1000e,nvdimm\n", "env=from the host\n",
		"node=kvm\n", "node=net/tun\n", "node=vhost-net\n", "node=loop-control\n", "node=vfio/vfio\n",
		"node=nvme0n1\n", "node=sda\n", "node=pmem0\n", "node=vda\n", "node=eth0\n",
		"nested=Y\n", "root=read-only\n", "tmp=", "modprobe=1\n", "disk=written\n", "read-only-disk=kept\n", "results=written\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("inside there is no %q:\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "groups=0\n") {
		t.Error("there are no IOMMU groups inside")
	}
	holds(t, disk, "written.")
	holds(t, readOnly, "....")
	holds(t, filepath.Join(cfg.Results, "file"), "result\n")
}

// holds checks how a file begins.
func holds(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("%s begins with %.20q, %v, want %q", path, got, err, want)
	}
}

func TestBootForeignLab(t *testing.T) {
	if HostArch != "amd64" {
		t.Skip("arm64 is this host's own architecture")
	}
	needQEMU(t, "arm64")
	dir := t.TempDir()
	cfg := Config{Arch: "arm64", Init: buildInit(t, "arm64"), Results: dir}
	t.Setenv("PROGRAM", "/host"+cfg.Init)
	status, stdout, stderr := bootScript(t, cfg, `
uname -m; [ -c /dev/kvm ] && echo kvm; pwd; echo $USUI_LAB; echo result >$USUI_RESULTS/file
modprobe dummy; grep -c '^dummy ' /proc/modules
$PROGRAM; exit 7`, nil)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if want := "aarch64\nkvm\n/host" + here + "\nkvm\n1\n"; status != 7 || stdout != want {
		t.Errorf("status %d, output %q, want 7 and %q", status, stdout, want)
	}
	if !strings.Contains(stderr, "first process of a guest") {
		t.Errorf("a static program of the host did not run: %s", stderr)
	}
	holds(t, filepath.Join(dir, "file"), "result\n")
}
