package initrd

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const sampleDep = `kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/arch/x86/kvm/kvm-amd.ko: kernel/arch/x86/kvm/kvm.ko kernel/virt/lib/irqbypass.ko
kernel/arch/x86/kvm/kvm.ko: kernel/virt/lib/irqbypass.ko
kernel/virt/lib/irqbypass.ko:
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/c.ko: kernel/gone.ko
`

const release = "6.0-test"

func sampleRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, "lib/modules", release, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func openSample(t *testing.T, more map[string]string) *Modules {
	t.Helper()
	files := map[string]string{
		"modules.dep":     sampleDep,
		"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
	}
	for name, content := range more {
		files[name] = content
	}
	m, err := OpenModules(t.Context(), sampleRoot(t, files), release)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestClosure(t *testing.T) {
	m := openSample(t, nil)
	for _, tt := range []struct {
		name    string
		ask     []string
		want    string
		wantErr string
	}{
		{"nothing", nil, "", ""},
		{"dependencies come first", []string{"9p"}, "kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko.xz kernel/fs/9p/9p.ko.xz", ""},
		{"each once", []string{"kvm", "kvm_amd", "kvm"}, "kernel/virt/lib/irqbypass.ko kernel/arch/x86/kvm/kvm.ko kernel/arch/x86/kvm/kvm-amd.ko", ""},
		{"dash is underscore", []string{"kvm-amd"}, "kernel/virt/lib/irqbypass.ko kernel/arch/x86/kvm/kvm.ko kernel/arch/x86/kvm/kvm-amd.ko", ""},
		{"built in", []string{"ext4", "virtio-pci", "irqbypass"}, "kernel/virt/lib/irqbypass.ko", ""},
		{"unknown", []string{"nope"}, "", "module nope: the kernel has no such module"},
		{"missing dependency", []string{"c"}, "", "module c needs module gone: the kernel has no such module"},
		{"circle", []string{"a"}, "", "module a needs module b needs module a depends on itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, err := m.Closure(tt.ask...)
			if got := strings.Join(files, " "); got != tt.want {
				t.Errorf("Closure(%q) = %s, want %s", tt.ask, got, tt.want)
			}
			if got := message(err); got != tt.wantErr {
				t.Errorf("Closure(%q) error = %q, want %q", tt.ask, got, tt.wantErr)
			}
		})
	}
	if _, err := m.Closure("nope"); !errors.Is(err, ErrNoModule) {
		t.Errorf("Closure(nope) error = %v, want one that wraps ErrNoModule", err)
	}
	if m.Has("nope") || !m.Has("ext4") || !m.Has("kvm-amd") {
		t.Error("Has is wrong about nope, ext4 or kvm-amd")
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOpenModulesRunsDepmod(t *testing.T) {
	root := sampleRoot(t, map[string]string{"modules.builtin": "", "modules.order": ""})
	t.Setenv("PATH", os.Getenv("PATH")+":/sbin")
	m, err := OpenModules(t.Context(), root, release)
	if err != nil && strings.Contains(err.Error(), "not installed") {
		t.Skip(err)
	}
	if err != nil || m.Has("kvm") {
		t.Fatalf("OpenModules = %v, %v", m, err)
	}
	if _, err := os.Stat(filepath.Join(root, "lib/modules", release, "modules.dep")); err != nil {
		t.Error(err)
	}
}

func TestOpenModulesOfAbsentRelease(t *testing.T) {
	if _, err := OpenModules(t.Context(), t.TempDir(), "9.9"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenModules of an absent release = %v, want one that wraps ErrNotExist", err)
	}
}

func pack(t *testing.T, kind, content string) string {
	t.Helper()
	var out bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch kind {
	case "gz":
		w = gzip.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestImageHoldsUnpackedModules(t *testing.T) {
	content := "\x7fELF" + strings.Repeat("module ", 1000)
	m := openSample(t, map[string]string{
		"modules.dep":    "kernel/x.ko.xz: kernel/g.ko.gz kernel/z-z.ko.zst\nkernel/g.ko.gz: kernel/p.ko\nkernel/z-z.ko.zst:\nkernel/p.ko:\n",
		"kernel/x.ko.xz": pack(t, "xz", "x"+content), "kernel/g.ko.gz": pack(t, "gz", "g"+content),
		"kernel/z-z.ko.zst": pack(t, "zst", "z"+content), "kernel/p.ko": "p" + content,
	})
	files, err := m.Closure("x")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := NewWriter(&out)
	if err := w.Modules(m, files); err != nil {
		t.Fatal(err)
	}
	if err := w.DeviceModules(m, 0x1af4, 0x1041, files[:2]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list := "/lib/usui/ko/p.ko\n/lib/usui/ko/g.ko\n/lib/usui/ko/z_z.ko\n/lib/usui/ko/x.ko\n"
	for _, want := range []string{list, "x" + content, "g" + content, "z" + content, "p" + content, "lib/usui/devices/1af4:1041\x00"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("the image holds %.40q %d times, want 1", want, strings.Count(out.String(), want))
		}
	}
	if n := strings.Count(out.String(), "/lib/usui/ko/p.ko\n/lib/usui/ko/g.ko\n"); n != 2 {
		t.Errorf("%d lists, want 2", n)
	}
}

func TestDecompressRefusesBombsAndGarbage(t *testing.T) {
	for _, kind := range []string{"gz", "xz", "zst"} {
		bomb := pack(t, kind, strings.Repeat("\x00", 1<<20))
		if _, err := decompress([]byte(bomb), 1<<16); err == nil {
			t.Errorf("%s: 1 MiB came out of a limit of 64 KiB", kind)
		}
		if _, err := Decompress([]byte(bomb[:len(bomb)/2])); err == nil {
			t.Errorf("%s: half a file was unpacked without an error", kind)
		}
		if got, err := decompress([]byte(bomb), 1<<20); err != nil || len(got) != 1<<20 {
			t.Errorf("%s: at the limit: %d bytes, %v", kind, len(got), err)
		}
	}
}

func TestParseDepRefusesPathsThatLeave(t *testing.T) {
	for _, line := range []string{"../../etc/passwd.ko:", "/etc/x.ko:", "kernel/a.ko kernel/b.ko", ": kernel/a.ko"} {
		if _, _, err := parseDep([]byte(line)); err == nil {
			t.Errorf("parseDep(%q) gave no error", line)
		}
	}
}

func FuzzParseDep(f *testing.F) {
	f.Add([]byte(sampleDep))
	f.Add([]byte("a.ko: a.ko\n#\n\n/: /"))
	f.Fuzz(func(t *testing.T, content []byte) {
		paths, needs, err := parseDep(content)
		if err != nil {
			return
		}
		m := &Modules{paths: paths, needs: needs, builtin: parseBuiltin(content)}
		for name := range paths {
			files, err := m.Closure(name)
			if err == nil && files[len(files)-1] != paths[name] {
				t.Fatalf("Closure(%q) = %q: the module itself is not the last", name, files)
			}
		}
	})
}

func TestParseDep(t *testing.T) {
	paths, needs, err := parseDep([]byte(sampleDep))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"9p": {"9pnet", "netfs"}, "9pnet": {"netfs"}, "kvm_amd": {"kvm", "irqbypass"}, "kvm": {"irqbypass"},
		"a": {"b"}, "b": {"a"}, "c": {"gone"},
	}
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
	if len(paths) != 9 {
		t.Errorf("%d paths, want 9", len(paths))
	}
}

func TestReadCutsTheSignatureOff(t *testing.T) {
	const description = "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, tt := range []struct{ name, module, want string }{
		{"signed", "ELF" + "SIGN" + description + "\x04" + signatureMagic, "ELF"},
		{"not signed", "ELF", "ELF"},
		{"signature longer than the file", "ELF" + description + "\x04" + signatureMagic, ""},
		{"magic alone", signatureMagic, ""},
	} {
		want := tt.want
		if want == "" {
			want = tt.module
		}
		m := openSample(t, map[string]string{"kernel/a.ko": tt.module})
		got, err := m.Read("kernel/a.ko")
		if err != nil || string(got) != want {
			t.Errorf("%s: Read = %q, %v, want %q", tt.name, got, err, want)
		}
	}
}
