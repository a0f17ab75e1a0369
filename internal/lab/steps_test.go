package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"usui/internal/attach"
	"usui/internal/debian"
	"usui/internal/pid1/wire"
)

// foreign is an architecture whose programs this host does not run.
func foreign() string {
	if HostArch == "amd64" {
		return "arm64"
	}
	return "amd64"
}

func TestStepsOfANativeLab(t *testing.T) {
	dir := t.TempDir()
	k := debian.Kernel{Package: debian.Package{Dir: dir}, Release: "6.12-test"}
	write(t, filepath.Join(dir, "lib/modules/6.12-test/modules.dep"), "")
	disk := filepath.Join(dir, "d.img")
	write(t, disk, "disk")
	link := filepath.Join(dir, "link.img")
	if err := os.Symlink("d.img", link); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Arch: HostArch, Results: dir, Disks: []Disk{{Path: link}, {Path: "/etc/passwd"}}}
	steps, err := cfg.steps(k, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(steps)
	if got[0] != `mount 9p "host" at "/newroot"` || got[len(got)-1] != `make "/newroot" the root` {
		t.Errorf("the first step is %s and the last %s", got[0], got[len(got)-1])
	}
	if !strings.Contains(","+steps[0].Options+",", ",ro,") {
		t.Errorf("the host's file system is mounted with %s: it must be read-only", steps[0].Options)
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		`bind "/newroot` + dir + `/lib/modules/6.12-test" to "/newroot/`,
		`mount 9p "results" at "/run/usui/results"`,
		// The file's own path, in the /tmp that moves along or in the host's file system.
		`wait for "/dev/vda"` + "\n" + `bind "/dev/vda" to "` + cfg.beforeRoot(disk) + `"`,
		`wait for "/dev/vdb"` + "\n" + `bind "/dev/vdb" to "/newroot/etc/passwd"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("steps lack %s:\n%s", want, text)
		}
	}
}

func TestStepsOfAForeignLab(t *testing.T) {
	dir := t.TempDir()
	k := debian.Kernel{Package: debian.Package{Dir: dir}, Release: "r"}
	write(t, filepath.Join(dir, "lib/modules/r/modules.dep"), "")
	steps, err := Config{Arch: foreign(), Disks: []Disk{{Path: "/etc/passwd"}}}.steps(k, []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`mount 9p "host" at "/host"`,
		`bind "/host` + dir + `/lib/modules/r" to "/lib/modules/r"`,
		`wait for "/dev/vda"`,
		`bind "/dev/vda" to "/host/etc/passwd"`,
	}
	if diff := cmp.Diff(want, describe(steps)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestStepsWithoutTheModulesOrTheDisk(t *testing.T) {
	if _, err := (Config{Arch: HostArch}).steps(debian.Kernel{Package: debian.Package{Dir: t.TempDir()}, Release: "r"}, nil); err == nil {
		t.Error("steps for a kernel without modules gave no error")
	}
	if _, err := (Config{Disks: []Disk{{Path: "/none"}}}).diskSteps(); err == nil {
		t.Error("diskSteps for a disk that is gone gave no error")
	}
}

func TestTmpSteps(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "usui-lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	entry := filepath.Base(dir)
	for _, tt := range []struct {
		name  string
		paths []string
		want  []string
	}{
		{"elsewhere", []string{"/usr/bin/env", "tmp/x", "/tmp", "/tmp/", "/tmpx/y", "-x=/tmp/y"}, nil},
		{"absent", []string{"/tmp/usui-lab-test-absent/x"}, nil},
		{"away again", []string{"/tmp/../etc"}, nil},
		{"below", []string{dir + "/a/b", dir, "/tmp//" + entry + "/c"}, []string{
			`mount overlay "overlay" at "/usui/tmp/merged"`,
			`bind "/usui/tmp/merged/` + entry + `" to "` + dir + `"`,
		}},
	} {
		if diff := cmp.Diff(tt.want, describe(tmpSteps(tt.paths))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestProgramInside(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		arch, path, want string
	}{
		{HostArch, self, self},
		{HostArch, "sh", "sh"},
		{foreign(), self, self}, // it cannot run there, wherever it lies
		{foreign(), "/bin/sh", "/bin/sh"},
		{foreign(), "sh", "sh"},
	} {
		if got := (Config{Arch: tt.arch}).programInside(tt.path); got != tt.want {
			t.Errorf("%s: programInside(%s) = %s, want %s", tt.arch, tt.path, got, tt.want)
		}
	}
	if got := (Config{Arch: foreign()}).inside("/work"); got != "/host/work" {
		t.Errorf("inside(/work) = %s, want /host/work", got)
	}
}

func describe(steps []attach.Step) []string {
	var list []string
	for _, s := range steps {
		list = append(list, wire.Step.String(s))
	}
	return list
}
