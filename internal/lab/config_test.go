package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConfigDefaults(t *testing.T) {
	cfg, err := Config{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Arch != "amd64" || cfg.CPUs != 2 || cfg.Kernel != "6.12" || cfg.MemoryBytes < minMemory || cfg.MemoryBytes > 4<<30 {
		t.Errorf("complete = %+v", cfg)
	}
}

func TestConfigRefusesNonsense(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.img")
	write(t, empty, "")
	for _, tt := range []struct {
		name  string
		cfg   Config
		want  string
		usage bool // wrong on any host
	}{
		{"architecture", Config{Arch: "mips"}, `architecture "mips"`, true},
		{"kernel", Config{Kernel: "new"}, `kernel kind "new"`, true},
		{"few CPUs", Config{CPUs: -1}, "-1 CPUs", true},
		{"many CPUs", Config{CPUs: 65}, "65 CPUs: a lab has 1 to 64", true},
		{"little memory", Config{MemoryBytes: 1 << 20}, "memory of 1 MiB: a lab needs 256 MiB", true},
		{"memory beyond the host's", Config{MemoryBytes: 1 << 50}, "this host has", false},
		{"more huge pages than memory", Config{MemoryBytes: 1 << 30, HugePages: 500}, "500 huge pages: a lab of 1024 MiB can set 0 to 384 aside", true},
		{"less than no huge page", Config{HugePages: -1}, "-1 huge pages", true},
		{"timeout", Config{Timeout: -time.Second}, "timeout of -1s", true},
		{"many disks", Config{Disks: make([]Disk, 20), NVMe: make([]string, 5)}, "25 virtio and NVMe disks: a lab takes 24", true},
		{"many NVDIMMs", Config{NVDIMM: make([]string, 9)}, "9 NVDIMMs", true},
		{"many AHCI disks", Config{AHCI: make([]string, 7)}, "7 AHCI disks", true},
		{"IOMMU of another machine", Config{Arch: "arm64", IOMMU: true}, "only an amd64 lab", true},
		{"absent disk", Config{Disks: []Disk{{Path: filepath.Join(dir, "none")}}}, "no such file", false},
		{"absent NVMe image", Config{NVMe: []string{filepath.Join(dir, "none")}}, "no such file", false},
		{"folder as a disk", Config{AHCI: []string{dir}}, "is a directory", false},
		{"read-only folder as a disk", Config{Disks: []Disk{{dir, true}}}, "neither a file nor a block device", false},
		{"terminal as a disk", Config{Disks: []Disk{{"/dev/null", false}}}, "neither a file nor a block device", false},
		{"empty disk", Config{Disks: []Disk{{Path: empty}}}, "truncate -s 1G", false},
		{"absent results", Config{Results: filepath.Join(dir, "none")}, "no such file", false},
		{"file as results", Config{Results: empty}, "not a folder", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.cfg.complete()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("complete = %v, want an error with %q", err, tt.want)
			}
			var usage ConfigError
			if errors.As(err, &usage) != tt.usage {
				t.Errorf("%v is a ConfigError: %v, want %v", err, !tt.usage, tt.usage)
			}
		})
	}
}

func TestDiskInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.img")
	write(t, path, "disk")
	if _, err := (Config{Disks: []Disk{{Path: path}}}).complete(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// As QEMU does it: a shared lock on one byte.
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 201, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{Disks: []Disk{{Path: path}}}, {NVMe: []string{path}}} {
		if _, err := cfg.complete(); err == nil || !strings.Contains(err.Error(), path+": in use") {
			t.Errorf("complete = %v, want an error that says it is in use", err)
		}
	}
	if _, err := (Config{Disks: []Disk{{path, true}}}).complete(); err != nil {
		t.Errorf("a disk that is only read beside another reader: %v", err)
	}
}

func TestCheckDiskRefusesWhatNoGuestCanHave(t *testing.T) {
	dir := t.TempDir()
	image, fifo := filepath.Join(dir, "image"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(image, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		if err := checkDisk(Disk{Path: fifo, ReadOnly: readOnly}); err == nil || !strings.Contains(err.Error(), "neither a file nor a block device") {
			t.Errorf("a FIFO, read-only %t: %v", readOnly, err)
		}
		if err := checkDisk(Disk{Path: image, ReadOnly: readOnly}); err != nil {
			t.Errorf("a free image, read-only %t: %v", readOnly, err)
		}
	}
	user, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	for _, tt := range []struct {
		what           string
		locked         int64 // byte, of QEMU's protocol
		writer, reader bool  // who is refused
	}{
		{"a reader", 100, true, false},
		{"a writer", writerByte, true, true},
	} {
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: tt.locked, Len: 1}
		if err := unix.FcntlFlock(user.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
		if err := checkDisk(Disk{Path: image}); (err != nil) != tt.writer {
			t.Errorf("beside %s, to write: %v", tt.what, err)
		}
		if err := checkDisk(Disk{Path: image, ReadOnly: true}); (err != nil) != tt.reader {
			t.Errorf("beside %s, to read: %v", tt.what, err)
		}
	}
}
