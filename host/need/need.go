package need

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usui/host/probe"
)

// Names of environment variables; see the package comment.
const (
	mustHaveVariable = "USUI_MUST_HAVE"
	labVariable      = "USUI_LAB"
	suitesVariable   = "USUI_SUITES"
)

// KVM skips the test unless guests of a few instructions run here, be it on a software KVM.
func KVM(t testing.TB) { t.Helper(); fact(t, "kvm") }

// HardwareKVM skips the test unless a stock kernel can boot here.
func HardwareKVM(t testing.TB) { t.Helper(); fact(t, "hardware-kvm") }

// FUSE skips the test unless /dev/fuse opens.
func FUSE(t testing.TB) { t.Helper(); fact(t, "fuse") }

// Loop skips the test unless files can be made block devices.
func Loop(t testing.TB) { t.Helper(); fact(t, "loop") }

// Tun skips the test unless it may make tun and tap interfaces.
func Tun(t testing.TB) { t.Helper(); fact(t, "tun") }

// VhostNet skips the test unless /dev/vhost-net opens.
func VhostNet(t testing.TB) { t.Helper(); fact(t, "vhost-net") }

// VhostVsock skips the test unless /dev/vhost-vsock opens.
func VhostVsock(t testing.TB) { t.Helper(); fact(t, "vhost-vsock") }

// URing skips the test unless io_uring works.
func URing(t testing.TB) { t.Helper(); fact(t, "uring") }

// Userfaultfd skips the test unless userfaultfd works for faults of the kernel, too.
func Userfaultfd(t testing.TB) { t.Helper(); fact(t, "userfaultfd") }

// BPF skips the test unless it may use bpf(2).
func BPF(t testing.TB) { t.Helper(); fact(t, "bpf") }

// Root skips the test unless it runs as root.
func Root(t testing.TB) { t.Helper(); fact(t, "root") }

// Tool skips the test unless the program of that name is installed, and returns its path. aptPackage is the
// Debian package that has it.
func Tool(t testing.TB, name, aptPackage string) string {
	t.Helper()
	f := probe.Tool(name, aptPackage)
	check(t, f)
	return f.Detail
}

// Suite skips the test unless the environment variable USUI_SUITES names a folder that holds one with this suite of
// tests, which is no package and comes from its own project, and returns its path.
func Suite(t testing.TB, name string) string {
	t.Helper()
	f := probe.Fact{Name: "suite:" + name, Remedy: "put its sources into the folder " + name + " of a folder that " + suitesVariable + " names"}
	root, path := os.Getenv(suitesVariable), ""
	if root == "" {
		f.Detail = suitesVariable + " is not set"
	} else {
		path = filepath.Join(root, name)
		info, err := os.Stat(path)
		f.OK, f.Detail = err == nil && info.IsDir(), path+" is no folder"
	}
	check(t, f)
	return path
}

// Lab skips the test unless it runs in a lab that has all features, as in Lab(t, "nvme", "iommu").
func Lab(t testing.TB, features ...string) {
	t.Helper()
	shape, inside := os.LookupEnv(labVariable)
	check(t, probe.Fact{Name: "lab", OK: inside, Detail: "runs inside usui lab"})
	offered := strings.Split(shape, ",")
	for _, f := range features {
		check(t, probe.Fact{Name: "lab:" + f, OK: slices.Contains(offered, f), Detail: "this lab has " + shape})
	}
}

// fact probes this host for the fact of that name.
func fact(t testing.TB, name string) {
	t.Helper()
	f, ok := probe.Host{}.Fact(name)
	if !ok {
		t.Fatalf("BUG: need %s: there is no such fact", name)
	}
	check(t, f)
}

// check skips or fails the test if the fact does not hold.
func check(t testing.TB, f probe.Fact) {
	t.Helper()
	if f.OK {
		return
	}
	why := f.Detail
	if f.Remedy != "" {
		why += "; " + f.Remedy
	}
	if slices.Contains(strings.Split(os.Getenv(mustHaveVariable), ","), f.Name) {
		t.Fatalf("need %s: %s; yet %s names it", f.Name, why, mustHaveVariable)
	}
	t.Skipf("need %s: %s", f.Name, why)
}
