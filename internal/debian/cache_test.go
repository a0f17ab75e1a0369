package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeGet stands for apt-get: it serves the folder $ARCHIVE and notes its calls in $ARCHIVE/calls.
const fakeGet = `#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -*) shift ;; *) break ;; esac; done
echo "$*" >>"$ARCHIVE/calls"
case $1 in
update) [ ! -e "$ARCHIVE/offline" ] || { echo "W: Failed to fetch http://deb.example/InRelease  Temporary failure resolving" >&2; } ;;
download)
	[ ! -e "$ARCHIVE/offline" ] || { echo "E: Failed to fetch http://deb.example/x.deb  Temporary failure resolving" >&2; exit 100; }
	: >half.deb.partial
	cp "$ARCHIVE/${2%%=*}.deb" . ;;
esac
`

// fakeShow stands for apt-cache.
const fakeShow = `#!/bin/sh
for name; do :; done
cat "$ARCHIVE/$name.stanza" 2>/dev/null || { echo "N: Unable to locate package $name" >&2; echo "E: No packages found" >&2; exit 100; }
`

// archive makes a package archive and lets apt's tools be fakes that serve it.
func archive(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"dpkg-deb", "depmod"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	bin, dir := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(bin, "apt-get"), fakeGet, 0o755)
	writeFile(t, filepath.Join(bin, "apt-cache"), fakeShow, 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("ARCHIVE", dir)
	return dir
}

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// publish puts a package into the archive.
func publish(t *testing.T, archive, name, version, depends string, files map[string]string) {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		writeFile(t, filepath.Join(root, path), content, 0o644)
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: test\n", name, version)
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	writeFile(t, filepath.Join(root, "DEBIAN/control"), control, 0o644)
	deb := filepath.Join(archive, name+".deb")
	if out, err := exec.Command("dpkg-deb", "-b", root, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	info, err := os.Stat(deb)
	if err != nil {
		t.Fatal(err)
	}
	stanza := strings.TrimSuffix(control, "\n") + fmt.Sprintf("\nSize: %d\n\nPackage: another\nVersion: 0\n", info.Size())
	writeFile(t, filepath.Join(archive, name+".stanza"), stanza, 0o644)
}

// publishKernel publishes a kernel and lets the metapackage stand for it.
func publishKernel(t *testing.T, archive, version string) {
	t.Helper()
	name := "linux-image-6.0-" + version + "-amd64"
	publish(t, archive, "linux-image-amd64", version, name+" (= "+version+"), other", nil)
	publish(t, archive, name, version, "kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool", map[string]string{
		"boot/vmlinuz-6.0-" + version:                             "kernel " + version,
		"lib/modules/6.0-" + version + "/kernel/a.ko":             "",
		"lib/modules/6.0-" + version + "/modules.builtin":         "",
		"lib/modules/6.0-" + version + "/modules.order":           "",
		"usr/share/doc/linux-image-6.0-" + version + "/changelog": "",
	})
}

func calls(t *testing.T, archive string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(archive, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// forget makes the index of apt old.
func forgetIndex(c *Cache) { apt{arch: "amd64", dir: filepath.Join(c.dir, "apt", "amd64")}.forget() }

func TestKernelFollowsTheMetapackage(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	var progress strings.Builder
	c := Open(Config{Dir: t.TempDir(), Progress: &progress})
	k, err := c.Kernel(t.Context(), "generic", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != "6.0-1" || k.ID != "linux-image-6.0-1-amd64_1" {
		t.Errorf("kernel = %+v, want release 6.0-1", k)
	}
	if got, err := os.ReadFile(k.Image); err != nil || string(got) != "kernel 1" {
		t.Errorf("image = %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(k.Dir, "lib/modules/6.0-1/modules.dep")); err != nil {
		t.Errorf("no module index: %v", err)
	}
	for _, want := range []string{"package index", "download linux-image-6.0-1-amd64 1 (", "unpack linux-image-6.0-1-amd64"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("progress %q lacks %q", progress.String(), want)
		}
	}
}

func TestCachedPackageNeedsNoApt(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	c := Open(Config{Dir: t.TempDir()})
	first, err := c.Get(t.Context(), "linux-image-amd64", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	second, err := Open(Config{Dir: c.dir}).Get(t.Context(), "linux-image-amd64", "amd64")
	if err != nil || second != first {
		t.Errorf("Get = %v, %v, want %v", second, err, first)
	}
}

func TestRefreshTakesTheNewestAndRemovesTheOld(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	c := Open(Config{Dir: t.TempDir()})
	old, err := c.Get(t.Context(), "linux-image-amd64", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	publishKernel(t, a, "2")
	if p, err := c.Get(t.Context(), "linux-image-amd64", "amd64"); err != nil || p != old {
		t.Errorf("Get = %v, %v, want the cached %v", p, err, old)
	}
	forgetIndex(c)
	p, err := Open(Config{Dir: c.dir, Refresh: true}).Get(t.Context(), "linux-image-amd64", "amd64")
	if err != nil || p.ID != "linux-image-6.0-2-amd64_2" {
		t.Fatalf("with Refresh Get = %v, %v, want version 2", p, err)
	}
	if _, err := os.Stat(old.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", old.Dir, err)
	}
	if again, err := c.Get(t.Context(), "linux-image-amd64", "amd64"); err != nil || again != p {
		t.Errorf("Get = %v, %v, want %v", again, err, p)
	}
}

func TestEpochOfAVersionIsEscaped(t *testing.T) {
	a := archive(t)
	publish(t, a, "busybox-static", "1:2+b1", "", map[string]string{"bin/busybox": "busybox"})
	path, err := Open(Config{Dir: t.TempDir()}).Busybox(t.Context(), "amd64")
	if err != nil || !strings.HasSuffix(path, "busybox-static_1%3a2+b1/bin/busybox") {
		t.Errorf("Busybox = %s, %v", path, err)
	}
}

func TestOneFetchForManyAtOnce(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := Open(Config{Dir: dir}).Get(t.Context(), "linux-image-amd64", "amd64"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := calls(t, a); len(got) != 2 || got[0] != "update" || !strings.HasPrefix(got[1], "download ") {
		t.Errorf("apt-get was called for %q, want one update and one download", got)
	}
}

func TestWaitForAnotherFetchEndsWithTheContext(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	var progress strings.Builder
	c := Open(Config{Dir: t.TempDir(), Progress: &progress})
	if err := os.MkdirAll(c.archDir("amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := c.lock(t.Context(), filepath.Join(c.archDir("amd64"), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := c.Get(ctx, "linux-image-amd64", "amd64"); !errors.Is(err, enough) {
		t.Errorf("Get = %v, want %v", err, enough)
	}
	if !strings.Contains(progress.String(), "wait for another usui") {
		t.Errorf("progress %q does not say that it waits", progress.String())
	}
}

func TestStalePartsAreRemoved(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	c := Open(Config{Dir: t.TempDir()})
	stale := filepath.Join(c.archDir("amd64"), "partial-123")
	writeFile(t, filepath.Join(stale, "root/x"), "half", 0o644)
	// A link to a package that is not there, as a removed folder leaves it.
	if err := os.Symlink("linux-image-6.0-1-amd64_1", filepath.Join(c.archDir("amd64"), "linux-image-amd64")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "linux-image-amd64", "amd64"); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(c.archDir("amd64"), "partial-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestBrokenPackageLeavesNothing(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	writeFile(t, filepath.Join(a, "linux-image-6.0-1-amd64.deb"), "not a package", 0o644)
	c := Open(Config{Dir: t.TempDir()})
	if _, err := c.Get(t.Context(), "linux-image-amd64", "amd64"); err == nil || !strings.Contains(err.Error(), "dpkg-deb") {
		t.Errorf("Get = %v, want dpkg-deb's error", err)
	}
	entries, err := os.ReadDir(c.archDir("amd64"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "lock" {
		t.Errorf("the cache holds %v, %v, want the lock alone", entries, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	a := archive(t)
	publishKernel(t, a, "1")
	c := Open(Config{Dir: t.TempDir()})
	for _, tt := range []struct {
		name    string
		prepare func()
		want    []string
	}{
		{"unknown package", func() {}, []string{"linux-image-9.9-amd64 for amd64", "sources.list", "No packages found"}},
		{"no network", func() { writeFile(t, filepath.Join(a, "offline"), "", 0o644) }, []string{"check the network", "Temporary failure resolving"}},
		{"no apt", func() { t.Setenv("PATH", "/nowhere"); forgetIndex(c) }, []string{"apt-get is not installed", "--kernel"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.prepare()
			kind := "generic"
			if tt.name == "unknown package" {
				kind = "9.9"
			}
			_, err := c.Kernel(t.Context(), kind, "amd64")
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestReadOnlyCacheIsExplained(t *testing.T) {
	err := readOnlyHint(&os.PathError{Op: "mkdir", Path: "/x", Err: unix.EROFS})
	if !strings.Contains(err.Error(), "XDG_CACHE_HOME") || !errors.Is(err, unix.EROFS) {
		t.Errorf("hint = %v", err)
	}
}

func TestKernelPackage(t *testing.T) {
	for _, tt := range []struct{ kind, want string }{
		{"cloud", "linux-image-cloud-arm64"},
		{"generic", "linux-image-arm64"},
		{"6.12", "linux-image-6.12-arm64"},
		{"6.12-cloud", "linux-image-6.12-cloud-arm64"},
		{"", ""}, {"-cloud", ""}, {"6", ""}, {"6.12.3", ""}, {"6.", ""}, {".6", ""}, {"../x", ""}, {"6.12-rt", ""},
	} {
		got, err := KernelPackage(tt.kind, "arm64")
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("KernelPackage(%q) = %q, %v, want %q", tt.kind, got, err, tt.want)
		}
	}
}

func FuzzParseStanza(f *testing.F) {
	f.Add([]byte("Package: linux-image-amd64\nVersion: 6.1.2-1\nDepends: a (= 1), b | c\nSize: 12\n\nPackage: b\n"))
	f.Add([]byte("Package: ../x\nVersion: 1\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		p, err := parseStanza(out)
		if err == nil && (filepath.Base(p.id()) != p.id() || strings.HasPrefix(p.id(), "-")) {
			t.Fatalf("package %q is no name of a folder", p.id())
		}
	})
}
