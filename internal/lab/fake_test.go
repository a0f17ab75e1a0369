package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"usui/internal/debian"
	"usui/internal/initrd"
	"usui/internal/pid1/wire"
)

// The test binary is QEMU too, when this variable says how it is to behave.
const fakeVariable = "USUI_FAKE_QEMU"

// pidVariable names the file into which a fake QEMU that hangs writes its process id.
const pidVariable = "USUI_FAKE_PID"

func TestMain(m *testing.M) {
	switch os.Getenv(fakeVariable) {
	case "":
		os.Exit(m.Run())
	case "guest":
		os.Exit(fakeGuest())
	case "refuses":
		fmt.Fprintln(os.Stderr, "qemu: Failed to get \"write\" lock")
		os.Exit(1)
	case "panics":
		fmt.Print("old line\n\x1b[2J\x1bcKernel panic - not syncing\r\n")
		os.Exit(0)
	case "hangs":
		hang()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		hang()
	case "parent":
		os.Exit(fakeParent())
	}
}

// hang says on the console and in a file that it is there, and waits for a signal.
func hang() {
	fmt.Print("booting\nstuck here\n")
	pid := os.Getenv(pidVariable)
	if err := os.WriteFile(pid+".new", fmt.Append(nil, os.Getpid()), 0o644); err != nil {
		panic(err)
	}
	if err := os.Rename(pid+".new", pid); err != nil {
		panic(err)
	}
	select {}
}

// fakeParent starts a QEMU that hangs and waits to be killed.
func fakeParent() int {
	if err := os.Setenv(fakeVariable, "hangs"); err != nil {
		panic(err)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if _, err := startProcess(self, nil, nil, nil); err != nil {
		panic(err)
	}
	select {}
}

// fakeGuest is a machine whose command writes on stdout how it was asked for and what came on stdin, and ends with status 7.
func fakeGuest() int {
	fmt.Println("console of the fake")
	port := func(i int) *os.File { return os.NewFile(uintptr(firstFile+i), portNames[i]) }
	control := port(0)
	if err := wire.WriteReport(control, wire.Report{Hello: &wire.Hello{Protocol: wire.Protocol, Kernel: "fake"}}); err != nil {
		panic(err)
	}
	requests := wire.NewRequestReader(control)
	m, err := requests.Next()
	if err != nil {
		panic(err)
	}
	run := m.Run
	if err := wire.WriteReport(control, wire.Report{Started: &wire.Started{PID: 42}}); err != nil {
		panic(err)
	}
	if m, err = requests.Next(); err != nil || m.StdinEOF == nil {
		panic(fmt.Sprint(m, err))
	}
	input, err := io.ReadAll(io.LimitReader(port(1), m.StdinEOF.Bytes))
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "argv %q\ndir %s\nqemu %q\nstdin %s\n", []string(run.Argv), run.Dir, os.Args[1:], input)
	for _, s := range run.Steps {
		fmt.Fprintln(&out, s, s.Options)
	}
	for _, e := range run.Env {
		fmt.Fprintln(&out, e)
	}
	if _, err := port(2).Write(out.Bytes()); err != nil {
		panic(err)
	}
	exit := &wire.Exit{Status: 7, StdoutBytes: int64(out.Len())}
	if err := wire.WriteReport(control, wire.Report{Exit: exit}); err != nil {
		panic(err)
	}
	if _, err := requests.Next(); err != nil { // poweroff, or the end
		return 0
	}
	return 0
}

// fakeQEMU lets the test binary be found as QEMU and behave in a way, and returns a config whose kernel is in the cache.
func fakeQEMU(t *testing.T, behaviour string) Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, machines("amd64").program)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv(fakeVariable, behaviour)
	t.Setenv(pidVariable, filepath.Join(bin, "pid"))
	cfg := Config{Arch: "amd64", MemoryBytes: minMemory, CacheDir: t.TempDir(), Init: filepath.Join(bin, "usui-init")}
	write(t, cfg.Init, "init")
	sampleKernel(t, cfg.CacheDir)
	return cfg
}

// sampleKernel puts a kernel into a cache folder.
func sampleKernel(t *testing.T, cacheDir string) {
	t.Helper()
	arch := filepath.Join(cacheDir, "debian/amd64")
	root := filepath.Join(arch, "linux-image-6.12-test_1")
	write(t, filepath.Join(root, "boot/vmlinuz-6.12-test"), string(bzImage(t, []byte("\x7fELF kernel"))))
	var builtin strings.Builder
	all := Config{Arch: "amd64", Disks: []Disk{{}}, NVMe: []string{""}, AHCI: []string{""}, NVDIMM: []string{""}, E1000E: true, IOMMU: true}
	for _, name := range all.modules() {
		builtin.WriteString("kernel/" + name + ".ko\n")
	}
	write(t, filepath.Join(root, "lib/modules/6.12-test/modules.builtin"), builtin.String())
	write(t, filepath.Join(root, "lib/modules/6.12-test/modules.dep"), "")
	if err := os.Symlink(filepath.Base(root), filepath.Join(arch, "linux-image-6.12-amd64")); err != nil {
		t.Fatal(err)
	}
}

// bzImage packs a kernel as the build of Linux does.
func bzImage(t *testing.T, elf []byte) []byte {
	t.Helper()
	payload := binary.LittleEndian.AppendUint32(zstdFrame(t, elf), uint32(len(elf)))
	const sectors, gap = 2, 64
	image := make([]byte, (sectors+1)*sectorSize+gap)
	image[setupSectors] = sectors
	copy(image[headerMagic:], "HdrS")
	binary.LittleEndian.PutUint32(image[payloadOffset:], gap)
	binary.LittleEndian.PutUint32(image[payloadLength:], uint32(len(payload)))
	return append(append(image, payload...), "signature"...)
}

// zstdFrame is content as a zstd frame of one raw block (RFC 8878, section 3.1.1).
func zstdFrame(t *testing.T, content []byte) []byte {
	t.Helper()
	if len(content) > 255 {
		t.Fatalf("%d bytes do not fit a frame with one byte for the size", len(content))
	}
	const singleSegment, last = 0x20, 1
	block := uint32(len(content))<<3 | last
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, singleSegment, byte(len(content)), byte(block), byte(block >> 8), byte(block >> 16)}, content...)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnpackKernel(t *testing.T) {
	elf := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel"), 40)...)
	image := bzImage(t, elf)
	got, err := unpackKernel(image)
	if err != nil || !bytes.Equal(got, elf) {
		t.Fatalf("unpackKernel = %d bytes, %v, want %d bytes", len(got), err, len(elf))
	}
	for name, broken := range map[string][]byte{
		"empty":       nil,
		"header only": image[:headerEnd],
		"cut":         image[:len(image)-20],
		"no bzImage":  bytes.Replace(image, []byte("HdrS"), []byte("None"), 1),
		"not an ELF":  bzImage(t, []byte("MZ")),
	} {
		if _, err := unpackKernel(broken); err == nil {
			t.Errorf("%s: unpackKernel gave no error", name)
		}
	}
}

func TestKernelThatUnpacksItself(t *testing.T) {
	dir := t.TempDir()
	image := bytes.Replace(bzImage(t, []byte("\x7fELF")), []byte{0x28, 0xb5, 0x2f, 0xfd}, []byte("\xfd7zX"), 1)
	k := debian.Kernel{Image: filepath.Join(dir, "vmlinuz")}
	write(t, k.Image, string(image))
	if got, err := (Config{Arch: "amd64"}).bootable(dir, k); got != k.Image || err != nil {
		t.Errorf("bootable = %s, %v, want the packed kernel itself", got, err)
	}
	write(t, k.Image, "no kernel")
	if _, err := (Config{Arch: "amd64"}).bootable(dir, k); err == nil {
		t.Error("bootable of a broken file gave no error")
	}
	if got, err := (Config{Arch: "arm64"}).bootable(dir, k); got != k.Image || err != nil {
		t.Errorf("arm64: bootable = %s, %v, want the file as it is", got, err)
	}
}

func FuzzUnpackKernel(f *testing.F) {
	f.Add(make([]byte, headerEnd))
	image := make([]byte, 2000)
	copy(image[headerMagic:], "HdrS")
	f.Add(image)
	f.Fuzz(func(t *testing.T, image []byte) {
		elf, err := unpackKernel(image)
		if err == nil && !bytes.HasPrefix(elf, []byte("\x7fELF")) {
			t.Fatal("what was unpacked is no ELF image")
		}
	})
}

// The key of a cached image changes with its parts.
func TestImageIsBuiltAnewForOtherModules(t *testing.T) {
	cfg := fakeQEMU(t, "guest")
	keys := map[string]bool{}
	for _, shape := range []Config{{Arch: "amd64"}, {Arch: "amd64", E1000E: true}, {Arch: "amd64", NVMe: []string{"x"}}} {
		shape.CacheDir = cfg.CacheDir
		l := boot{cfg: shape}
		l.cfg.Init, l.cfg.Kernel = cfg.Init, "6.12"
		if err := l.prepare(t.Context()); err != nil && !strings.Contains(err.Error(), "open x") {
			t.Fatal(err)
		}
		keys[l.start.initrd] = true
	}
	if len(keys) != 3 {
		t.Errorf("three shapes have %d images", len(keys))
	}
	if initrd.ModuleList != "lib/usui/modules" {
		t.Error("pid1 looks for the list of modules elsewhere")
	}
}
