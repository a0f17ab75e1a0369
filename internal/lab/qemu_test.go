package lab

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		size  []int64
		loops int64
	}{
		{"plain", Config{Arch: "amd64", CPUs: 2, MemoryBytes: 4 << 30}, nil, 10384540},
		{"devices", Config{
			Arch: "amd64", CPUs: 4, MemoryBytes: 2 << 30, HugePages: 7, Results: "/home/a,b/results", E1000E: true, IOMMU: true,
			Disks: []Disk{{Path: "/d 0.img"}, {Path: "/d1.img", ReadOnly: true}},
			NVMe:  []string{"/n0.img"}, AHCI: []string{"/s0.img", "/s1.img"}, NVDIMM: []string{"/p0.img", "/p1.img"},
		}, []int64{1 << 30, 128 << 20}, 0},
		{"arm64", Config{Arch: "arm64", CPUs: 1, MemoryBytes: 1 << 30, NVMe: []string{"/n0.img"}}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start{cfg: tt.cfg, kernel: "/cache/vmlinux", initrd: "/cache/initrd", sizes: tt.size, delayLoops: tt.loops,
				ports: map[string]int{"usui.control": 3, "usui.stdin": 4, "usui.stdout": 5, "usui.stderr": 6}}
			got := lines(s.arguments())
			golden := filepath.Join("testdata", "arguments-"+tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments (-want +got), -update accepts them:\n%s", diff)
			}
		})
	}
}

// lines puts an option and its value on one line.
func lines(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 && strings.HasPrefix(a, "-") {
			b.WriteByte('\n')
		} else if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}

func TestScratchDevices(t *testing.T) {
	for _, tt := range []struct {
		cfg   Config
		want  string
		files int
	}{
		{Config{Arch: "amd64"}, "kvm,iommu,nvme,ahci,e1000e,nvdimm", 3},
		{Config{Arch: "amd64", NVMe: []string{"/own.img"}}, "kvm,iommu,nvme,ahci,e1000e,nvdimm", 2},
		{Config{Arch: "arm64"}, "kvm,nvme,ahci,e1000e", 2},
	} {
		cfg, files, err := tt.cfg.withScratch(7)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cfg.features(), ","); got != tt.want {
			t.Errorf("%+v: features = %s, want %s", tt.cfg, got, tt.want)
		}
		if len(files) != tt.files {
			t.Errorf("%+v: %d files, want %d", tt.cfg, len(files), tt.files)
		}
		if len(tt.cfg.NVMe) > 0 && cfg.NVMe[0] != "/own.img" {
			t.Errorf("the caller's NVMe image became %s", cfg.NVMe[0])
		}
		if len(tt.cfg.NVMe) == 0 && cfg.NVMe[0] != "/proc/self/fd/7" {
			t.Errorf("scratch NVMe image = %s, want /proc/self/fd/7", cfg.NVMe[0])
		}
		for _, f := range files {
			if info, err := f.Stat(); err != nil || info.Size() != scratchSize {
				t.Errorf("scratch file: %v, %v", info, err)
			}
		}
		closeAll(files)
	}
}

func TestBogomips(t *testing.T) {
	const two = "processor\t: 0\nbogomips\t: 5192.27\n\nprocessor\t: 1\nbogomips\t: 1.00\n"
	for text, want := range map[string]float64{
		two: 5192.27, "": 0, "bogomips\t: fast\n": 0, "bogomips : -3\n": 0, "bogomips : NaN\n": 0, "bogomips : 1e300\n": 0, "bogomips": 0,
	} {
		if got := bogomips(text); got != want {
			t.Errorf("bogomips(%q) = %v, want %v", text, got, want)
		}
	}
	if got := delayLoops("arm64"); got != 0 {
		t.Errorf("delayLoops(arm64) = %d, want 0: its kernel knows the rate of its timer", got)
	}
}
