package probe

import (
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostWith makes a host from files; the text "-> x" makes a symbolic link.
func hostWith(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root}
}

func TestFactsOfFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		files  map[string]string
		fact   func(Host) Fact
		ok     bool
		detail string
	}{
		{"no tun", nil, Host.tun, false, "/dev/net/tun is absent"},
		{"tun is a file", map[string]string{"dev/net/tun": ""}, Host.tun, false, "is no device node"},
		{"tun, weak user", map[string]string{"dev/net/tun": "-> /dev/null", "proc/self/status": "CapEff:\t0000000000000400\n"}, Host.tun, false, "lacks CAP_NET_ADMIN"},
		{"tun", map[string]string{"dev/net/tun": "-> /dev/null", "proc/self/status": "Name:\tx\nCapEff:\t0000000000001000\n"}, Host.tun, true, "opens"},
		{"vhost", map[string]string{"dev/vhost-net": "-> /dev/null"}, func(h Host) Fact { return h.vhost("net") }, true, "opens"},
		{"loop", map[string]string{"dev/loop-control": "-> /dev/null"}, Host.loop, true, "opens"},
		{"no loop", nil, Host.loop, false, "/dev/loop-control is absent"},
		{"no IOMMU", nil, Host.iommu, false, "no IOMMU groups"},
		{"empty IOMMU group", map[string]string{"sys/kernel/iommu_groups/0/type": "x"}, Host.iommu, false, "0 groups"},
		{"IOMMU", map[string]string{"sys/kernel/iommu_groups/0/devices/0000:00:01.0/x": ""}, Host.iommu, true, "1 groups"},
		{"VMX", map[string]string{"proc/cpuinfo": "flags\t\t: fpu vmx smx\n"}, Host.virtualization, true, "Intel VMX"},
		{"SVM", map[string]string{"proc/cpuinfo": "flags\t\t: fpu svm\n"}, Host.virtualization, true, "AMD SVM"},
		{"neither", map[string]string{"proc/cpuinfo": "flags\t\t: fpu svme vmxx\n"}, Host.virtualization, false, "neither vmx nor svm"},
		{"nested", map[string]string{"sys/module/kvm_amd/parameters/nested": "1\n"}, Host.nested, true, "kvm_amd.nested=1"},
		{"not nested", map[string]string{"sys/module/kvm_intel/parameters/nested": "N\n"}, Host.nested, false, "kvm_intel.nested=N"},
		{"no module", nil, Host.nested, false, "no such module"},
		{"memory", map[string]string{"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n"}, Host.memory, true, "4096 MiB available"},
		{"little memory", map[string]string{"proc/meminfo": "MemAvailable:    1048576 kB\n"}, Host.memory, false, "1024 MiB available"},
		{"nonsense memory", map[string]string{"proc/meminfo": "MemAvailable: lots\n"}, Host.memory, false, "0 MiB available"},
		{"huge pages", map[string]string{"proc/meminfo": "HugePages_Total:      16\nHugepagesize:       2048 kB\n"}, Host.hugepages, true, "16 pages of 2048 KiB"},
		{"no huge pages", map[string]string{"proc/meminfo": "HugePages_Total:       0\nHugepagesize:       2048 kB\n"}, Host.hugepages, false, "0 pages of 2048 KiB"},
		{"pmem", map[string]string{"dev/pmem0": ""}, Host.pmem, true, "/dev/pmem0"},
		{"no pmem", nil, Host.pmem, false, "none"},
		{"BTF", map[string]string{"sys/kernel/btf/vmlinux": strings.Repeat("x", 5<<10)}, Host.btf, true, "5 KiB"},
		{"no BTF", nil, Host.btf, false, "no types"},
		{"tcx", map[string]string{"proc/sys/kernel/osrelease": "6.12.41-amd64\n"}, Host.tcx, true, "6.12.41-amd64"},
		{"no tcx", map[string]string{"proc/sys/kernel/osrelease": "6.1.0-40-cloud-amd64\n"}, Host.tcx, false, "6.1.0"},
		{"passthrough by configuration", map[string]string{"proc/sys/kernel/osrelease": "6.12.41", "boot/config-6.12.41": "CONFIG_FUSE_FS=m\nCONFIG_FUSE_PASSTHROUGH=y\n"}, Host.fusePassthrough, true, "set in"},
		{"no passthrough by configuration", map[string]string{"proc/sys/kernel/osrelease": "6.12.41", "boot/config-6.12.41": "# CONFIG_FUSE_PASSTHROUGH is not set\n"}, Host.fusePassthrough, false, "not set"},
		{"passthrough by version", map[string]string{"proc/sys/kernel/osrelease": "6.9.0\n"}, Host.fusePassthrough, true, "Linux 6.9.0"},
		{"no passthrough by version", map[string]string{"proc/sys/kernel/osrelease": "6.8.12\n"}, Host.fusePassthrough, false, "Linux 6.8.12"},
	} {
		got := tt.fact(hostWith(t, tt.files))
		if got.OK != tt.ok || !strings.Contains(got.Detail, tt.detail) {
			t.Errorf("%s: OK = %v, detail %q; want %v, %q", tt.name, got.OK, got.Detail, tt.ok, tt.detail)
		}
		if got.Name == "" || got.How == "" || (got.OK && got.Remedy != "") {
			t.Errorf("%s: %+v; want a name, how it is known, and no remedy if OK", tt.name, got)
		}
	}
}

func TestConfigIsUnpacked(t *testing.T) {
	h := hostWith(t, map[string]string{"proc/config.gz": "no gzip"})
	if got := h.config(); got != "" {
		t.Errorf("config of a broken file = %q, want nothing", got)
	}
	f, err := os.Create(h.path("/proc/config.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Write([]byte("CONFIG_FUSE_PASSTHROUGH=y\n"))
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := h.fusePassthrough(); !got.OK {
		t.Errorf("fuse-passthrough with /proc/config.gz = %+v, want OK", got)
	}
}

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		release      string
		major, minor int
		want         bool
	}{{"6.12.41-amd64", 6, 9, true}, {"6.9.0", 6, 9, true}, {"6.8", 6, 9, false}, {"5.20.1", 6, 9, false}, {"7.0", 6, 9, true}, {"10.1", 6, 9, true}, {"", 6, 9, false}, {"linux", 6, 9, false}, {"99999999999999999999.1", 6, 9, false}} {
		if got := atLeast(tt.release, tt.major, tt.minor); got != tt.want {
			t.Errorf("atLeast(%q, %d, %d) = %v, want %v", tt.release, tt.major, tt.minor, got, tt.want)
		}
	}
}

func TestKVMOfWhatIsNoKVM(t *testing.T) {
	notAsked := func(string) (time.Duration, error) {
		t.Error("the speed of what is no KVM was measured")
		return 0, nil
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]State{filepath.Join(t.TempDir(), "absent"): KVMAbsent, "/dev/null": KVMBroken, file: KVMBroken} {
		got := KVM(path, notAsked)
		if got.State != want || got.Reason == "" || strings.Contains(got.Reason, "\n") {
			t.Errorf("KVM(%s) = %+v, want state %v with a reason of one line", path, got, want)
		}
	}
	if got := kvmOpenError("/dev/kvm", fs.ErrPermission); got.State != KVMNoPermission || got.Remedy == "" {
		t.Errorf("without permission: %+v, want state %v with a remedy", got, KVMNoPermission)
	}
}

func TestKVMIsJudgedByItsSpeed(t *testing.T) {
	if s := KVM("/dev/kvm", nil); s.State < KVMSoftware {
		t.Skipf("need kvm: %s", s.Reason)
	}
	for _, tt := range []struct {
		cost time.Duration
		err  error
		want State
	}{{time.Nanosecond, nil, KVMHardware}, {150 * time.Nanosecond, nil, KVMHardware}, {600 * time.Nanosecond, nil, KVMSoftware}, {0, errors.New("entry failed"), KVMBroken}} {
		got := KVM("/dev/kvm", func(string) (time.Duration, error) { return tt.cost, tt.err })
		if got.State != tt.want {
			t.Errorf("KVM at %v, %v an instruction = %+v, want %v", tt.cost, tt.err, got, tt.want)
		}
		any, hardware := got.any(), got.hardware()
		if any.OK != (tt.want >= KVMSoftware) || hardware.OK != (tt.want == KVMHardware) {
			t.Errorf("facts at %v: kvm %v, hardware-kvm %v", tt.cost, any.OK, hardware.OK)
		}
	}
}

func TestFactsOfThisHostAreComplete(t *testing.T) {
	fds := openDescriptors(t)
	seen := map[string]bool{}
	for _, f := range (Host{}).finders() {
		if got := f.fact().Name; got != f.name {
			t.Errorf("the fact listed as %s calls itself %s", f.name, got)
		}
	}
	for _, f := range (Host{}).Facts() {
		if f.Name == "" || seen[f.Name] || f.How == "" || f.Detail == "" || strings.ContainsAny(f.Detail+f.How+f.Remedy, "\n\t") {
			t.Errorf("fact %+v: want a name of its own and full lines", f)
		}
		seen[f.Name] = true
	}
	if after := openDescriptors(t); after != fds {
		t.Errorf("probing left %d descriptors open, %d before", after, fds)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestFindWantsAnExecutableFile(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for path, mode := range map[string]fs.FileMode{filepath.Join(a, "x"): 0o644, filepath.Join(b, "x"): 0o755} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(a, "y"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x": filepath.Join(b, "x"), "y": "", "z": ""} {
		if got := find(name, []string{a, b}); got != want {
			t.Errorf("find(%q) = %q, want %q", name, got, want)
		}
	}
}
