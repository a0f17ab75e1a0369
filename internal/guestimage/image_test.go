package guestimage

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usui/internal/initrd"
)

const release = "6.0-test"

// sampleBusybox stands for a busybox: what counts is its table of commands.
const sampleBusybox = "\x7fELF code [\x00[[\x00ash\x00ls\x00sh\x00\x00/var/log/wtmp\x00"

// sampleCache makes a cache that holds what a guest is made of, so that nothing is fetched.
func sampleCache(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	kernel := "debian/amd64/linux-image-6.0_1"
	for name, content := range map[string]string{
		"usui-init":                         "init one",
		kernel + "/boot/vmlinuz-" + release: "kernel",
		kernel + "/lib/modules/" + release + "/modules.builtin":      "kernel/ext4.ko\n",
		kernel + "/lib/modules/" + release + "/modules.dep":          "kernel/virtio_pci.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/virtio-rng.ko:\nkernel/nouveau.ko:\n",
		kernel + "/lib/modules/" + release + "/kernel/virtio.ko":     "module virtio",
		kernel + "/lib/modules/" + release + "/kernel/nouveau.ko":    "module nouveau",
		kernel + "/lib/modules/" + release + "/kernel/virtio-rng.ko": "module rng",
		kernel + "/lib/modules/" + release + "/kernel/virtio_pci.ko": "module pci",
		"debian/amd64/busybox-static_1/bin/busybox":                  sampleBusybox,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"linux-image-cloud-amd64": "linux-image-6.0_1", "busybox-static": "busybox-static_1"} {
		if err := os.Symlink(target, filepath.Join(dir, "debian/amd64", name)); err != nil {
			t.Fatal(err)
		}
	}
	// Without apt in reach, a try to fetch fails.
	t.Setenv("PATH", "")
	return Options{Arch: "amd64", CacheDir: dir, Init: filepath.Join(dir, "usui-init")}
}

func TestDefault(t *testing.T) {
	cpio, cpioErr := exec.LookPath("cpio")
	opts := sampleCache(t)
	image, err := Default(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if image.KernelRelease != release || filepath.Base(image.Kernel) != "vmlinuz-"+release {
		t.Errorf("kernel %s, release %s, want vmlinuz-%s, %s", image.Kernel, image.KernelRelease, release, release)
	}
	content, err := os.ReadFile(image.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"init one", "/lib/usui/ko/virtio.ko\n/lib/usui/ko/virtio_pci.ko\n/lib/usui/ko/virtio_rng.ko\n"} {
		if !bytes.Contains(content, []byte(want)) {
			t.Errorf("the initramfs does not hold %q", want)
		}
	}
	if bytes.Contains(content, []byte("nouveau")) {
		t.Error("the initramfs holds a module that nobody asked for")
	}
	if cpioErr != nil {
		t.Skip("cpio is not installed")
	}
	list := exec.Command(cpio, "-itv", "--quiet")
	list.Stdin = bytes.NewReader(content)
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for _, want := range []string{"bin/ash -> busybox", "bin/[ -> busybox", "sbin -> bin", "dev/console", "etc/passwd"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// The lab's file system cannot be written to, and it has no network.
func TestDefaultOfACachedGuestWritesNothing(t *testing.T) {
	opts := sampleCache(t)
	first, err := Default(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, opts.CacheDir)
	second, err := Default(t.Context(), opts)
	if err != nil || second != first {
		t.Errorf("second Default = %v, %v, want %v", second, err, first)
	}
	if after := tree(t, opts.CacheDir); after != before {
		t.Errorf("the cache changed:\n%s\nwas\n%s", after, before)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			out.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDefaultIsBuiltAnewWhenAPartChanges(t *testing.T) {
	opts := sampleCache(t)
	first, err := Default(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(opts.Init, []byte("init two"), 0o755); err != nil {
		t.Fatal(err)
	}
	second, err := Default(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(second.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	if second.Initrd == first.Initrd || !bytes.Contains(content, []byte("init two")) {
		t.Errorf("after a change of usui-init the guest is still %s", second.Initrd)
	}
}

func TestDefaultSaysWhatIsMissing(t *testing.T) {
	opts := sampleCache(t)
	opts.Init = ""
	if _, err := Default(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("Default without usui-init = %v, want an error that says how to make it", err)
	}
	opts.Init, opts.Kernel = "x", "small"
	if _, err := Default(t.Context(), opts); err == nil || !strings.Contains(err.Error(), `"small" is unknown`) {
		t.Errorf("Default of an unknown kernel = %v", err)
	}
	opts.Kernel = "generic" // known, not in the cache, and apt is not there
	if _, err := Default(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "apt-get is not installed") {
		t.Errorf("Default without apt = %v", err)
	}
}

func TestAppletsOfTheRealBusybox(t *testing.T) {
	program, err := os.ReadFile("/bin/busybox")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("busybox is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := applets(program)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(out))
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d commands read from the file, busybox itself lists %d:\n%q\n%q", len(got), len(want), got, want)
	}
}

func FuzzApplets(f *testing.F) {
	f.Add([]byte(sampleBusybox))
	f.Add([]byte("[\x00[[\x00"))
	f.Add([]byte("[\x00[[\x00../x\x00\x00"))
	f.Fuzz(func(t *testing.T, program []byte) {
		names, err := applets(program)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w := initrd.NewWriter(&out)
		for _, name := range names {
			if name != filepath.Base(name) || name == "." || name == ".." {
				t.Fatalf("command %q is no name of a file", name)
			}
			w.Symlink("bin/"+name, "busybox")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
