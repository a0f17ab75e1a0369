package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/tree"
)

// planEnv has the child survey: source and destination, with a colon between them.
const planEnv = "USUI_FSMOVE_PLAN"

// TestMain lets this binary be a process of another user.
func TestMain(m *testing.M) {
	if src, dst, ok := strings.Cut(os.Getenv(planEnv), ":"); ok {
		r, err := Run(context.Background(), Config{Source: src, Destination: dst})
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(r)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, src, dst string) *Report {
	t.Helper()
	r, err := Run(t.Context(), Config{Source: src, Destination: dst, Sample: time.Second})
	must(t, err)
	return r
}

// paths are those of a finding whose text begins so, sorted, and its class.
func paths(r *Report, what string) (class string, all []string) {
	for _, f := range r.Findings {
		if strings.HasPrefix(f.What, what) {
			all = slices.Clone(f.Paths)
			slices.Sort(all)
			return f.Class, all
		}
	}
	return "", nil
}

// mount mounts a tmpfs until the test ends.
func mount(t *testing.T, at, options string) {
	t.Helper()
	must(t, unix.Mount("none", at, "tmpfs", 0, options))
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
}

// TestEverythingIsFound has a source with one of everything.
func TestEverythingIsFound(t *testing.T) {
	need.Root(t)
	base := t.TempDir()
	src, dst := filepath.Join(base, "src"), t.TempDir()
	at := func(name string) string { return filepath.Join(src, name) }
	write := func(name string, n int) { t.Helper(); must(t, os.WriteFile(at(name), make([]byte, n), 0o644)) }
	must(t, os.MkdirAll(at("d/e/f"), 0o755))
	write("d/e/f/deep", 10)
	write("file", 100_000)
	write("File", 0)
	write("\u00e9", 0)
	write("e\u0301", 0)
	write("what?", 0)
	write("\xff", 0)
	must(t, os.Symlink("nowhere", at("link")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	must(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Link(at("file"), at("d/also")))
	write("half", 0)
	must(t, os.Link(at("half"), filepath.Join(base, "outside")))
	must(t, unix.Chmod(at("File"), 0o4755))
	must(t, unix.Setxattr(at("file"), "user.colour", []byte("x"), 0))
	must(t, unix.Setxattr(at("d"), "trusted.t", []byte("x"), 0))
	must(t, unix.Setxattr(at("d/e"), "system.posix_acl_default", someACL, 0))
	// struct vfs_ns_cap_data, version 2 (capabilities(7)): cap_net_bind_service
	must(t, unix.Setxattr(at("half"), "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	must(t, os.Truncate(at("what?"), 1<<30))
	must(t, tree.SetTimes(unix.AT_FDCWD, at("fifo"), time.Unix(-5, 0), time.Unix(-5, 0)))
	must(t, tree.SetTimes(unix.AT_FDCWD, at("null"), time.Unix(1<<32, 0), time.Unix(1<<32, 0)))
	must(t, os.Mkdir(at(".usui-fsmove"), 0o755))
	must(t, os.Mkdir(at("mnt"), 0o755))
	mount(t, at("mnt"), "")
	write("mnt/there", 5)

	before := whenOf(t, dst)
	r := run(t, src, dst)
	s := r.Source
	got := []uint64{s.Entries, s.Files, s.Folders, s.Links, s.Specials, s.Sparse, s.Linked, s.LinkedNames, s.Bytes}
	want := []uint64{18, 9, 5, 1, 2, 1, 2, 3, 100_015 + 1<<30}
	if !slices.Equal(got, want) {
		t.Errorf("counted are %d, want %d", got, want)
	}
	if s.Deepest != (Place{"d/e/f/deep", 4}) || s.Largest != (Place{".", 12}) || s.Allocated < 100_000 || s.Allocated > 1<<20 {
		t.Errorf("%+v, want the deepest path d/e/f/deep, the largest folder the top with 12, and 100 kB and some", s)
	}
	for _, tt := range []struct {
		class, what string
		paths       []string
	}{
		{Know, whatForm, []string{"e\u0301", "\u00e9"}},
		{Know, whatCase, []string{"File", "file"}},
		{Know, whatWindows, []string{"what?"}},
		{Know, whatUTF8, []string{"\xff"}},
		{Know, whatDevices, []string{"null"}},
		{Know, "files with set-user-ID", []string{"File"}},
		{Know, "files with capabilities", []string{"half"}},
		{Know, whatUser, []string{"file", "d/also"}},
		{Know, whatTrusted, []string{"d"}},
		{Know, whatACL, []string{"d/e"}},
		{Know, whatEarly, []string{"fifo"}},
		{Know, whatLate, []string{"null"}},
		{Differ, "inodes with further names outside", []string{"half"}},
		{Differ, "mount points", []string{"mnt"}},
		{Differ, "names at the top", []string{".usui-fsmove"}},
	} {
		class, all := paths(r, tt.what)
		if class != tt.class || len(all) != 1 || !slices.Contains(tt.paths, all[0]) { // one of those that are one
			t.Errorf("%q: %q, %q, want %q, one of %q", tt.what, class, all, tt.class, tt.paths)
		}
	}
	if !r.Movable() || !r.Destination.Tried {
		t.Errorf("it cannot be moved, or the destination was not tried: %+v, %+v", r.Findings, r.Destination)
	}
	for what, has := range r.Destination.Has {
		if !has {
			t.Errorf("the destination has no %s", what)
		}
	}
	if left, err := os.ReadDir(dst); err != nil || len(left) != 0 || !whenOf(t, dst).Equal(before) {
		t.Errorf("the destination has %v, %v, or another time", left, err)
	}
	if e := r.Estimate; e.FilesPerSecond <= 0 || e.Seconds <= 0 || !strings.Contains(e.How, "random sample") {
		t.Errorf("the estimate is %+v", e)
	}
	var text strings.Builder
	if err := r.WriteText(&text, 3); err != nil || !strings.Contains(text.String(), `"d/e/f/deep"`) || !strings.Contains(text.String(), "nothing was found that cannot be moved") {
		t.Errorf("%v, the text is\n%s", err, text.String())
	}
}

func whenOf(t *testing.T, path string) time.Time {
	t.Helper()
	r, err := tree.Open(path)
	must(t, err)
	defer r.Close()
	m, err := tree.Stat(r.Fd(), "")
	must(t, err)
	return m.Mtime
}

// TestWhatAnotherUserCannotReadIsNamed surveys as a user that may not read everything.
func TestWhatAnotherUserCannotReadIsNamed(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	must(t, os.Chmod(filepath.Dir(src), 0o755)) // which is the test's
	must(t, os.Mkdir(filepath.Join(src, "closed"), 0o700))
	must(t, os.WriteFile(filepath.Join(src, "secret"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(src, "open"), []byte("x"), 0o644))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), planEnv+"="+src+":"+filepath.Join(src, "../none/at/all"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	var r Report
	must(t, json.Unmarshal(out, &r))
	if class, all := paths(&r, "entries that cannot be read: permission denied"); class != Cannot || !slices.Equal(all, []string{"closed", "secret"}) || r.Movable() {
		t.Errorf("%q, %q, want %q and closed and secret", class, all, Cannot)
	}
	if d := r.Destination; d.Exists || d.Tried || d.WhyNot == "" || d.Asked != filepath.Dir(src) {
		t.Errorf("a destination that does not exist: %+v", d)
	}
	if class, _ := paths(&r, "the destination will have to be made"); class != Know {
		t.Error("that the destination has to be made is not told")
	}
}

// TestADestinationThatIsTooSmall has neither the room nor the inodes.
func TestADestinationThatIsTooSmall(t *testing.T) {
	need.Root(t)
	src, dst := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "large"), make([]byte, 2<<20), 0o644))
	for i := range 60 {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint(i)), nil, 0o644))
	}
	mount(t, dst, "size=1m,nr_inodes=50")
	r := run(t, src, dst)
	if class, _ := paths(r, "everything: the destination has 1.0 MiB"); class != Cannot {
		t.Errorf("no word of room: %+v", r.Findings)
	}
	if class, _ := paths(r, "everything: the destination has 49 inodes"); class != Cannot {
		t.Errorf("no word of inodes: %+v", r.Findings)
	}
	if r.Movable() {
		t.Error("it can be moved")
	}
}

func TestDestinationsThatAreRefused(t *testing.T) {
	need.Root(t)
	src := t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, "in"), 0o755))
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "something"), nil, 0o644))
	for dst, what := range map[string]string{
		filepath.Join(src, "in"):    "everything: " + filepath.Join(src, "in") + " is in " + src,
		filepath.Join(src, "to/be"): "everything: " + filepath.Join(src, "to/be") + " is in " + src,
		filepath.Dir(src):           "everything: " + src + " is in " + filepath.Dir(src),
		full:                        "everything: the destination is not empty",
	} {
		r := run(t, src, dst)
		if class, _ := paths(r, what); class != Cannot || r.Movable() || r.Destination.Tried && dst != filepath.Join(src, "in") {
			t.Errorf("%s: %+v, want %q", dst, r.Findings, what)
		}
	}
	if _, err := Run(t.Context(), Config{Source: src, Destination: filepath.Join(full, "something/below")}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v, want %v", err, unix.ENOTDIR)
	}
}

// TestWhatTheDestinationDoesNotHold has a destination that holds next to nothing.
func TestWhatTheDestinationDoesNotHold(t *testing.T) {
	s := &survey{findings: findings{most: 10}, nanoseconds: true}
	for _, what := range []string{whatUser, whatACL, whatDevices, whatCase, whatUTF8, whatWindows, whatLate} {
		s.findings.add(Know, what, "path")
	}
	s.report.Destination.Has = map[string]bool{hasUser: true, hasOwners: true}
	s.compareHas()
	for what, want := range map[string]string{
		whatUser: Know, whatACL: Cannot, whatDevices: Cannot, whatCase: Cannot, whatUTF8: Cannot, whatWindows: Cannot, whatLate: Differ,
		"times: the destination": Differ, "everything: the destination has no holes": Cannot, "everything: the destination has no handles": Cannot,
	} {
		if class, _ := paths(&Report{Findings: s.findings.sorted()}, what); class != want {
			t.Errorf("%q: %q, want %q", what, class, want)
		}
	}
}

func TestListsAreBoundedAndCountsAreNot(t *testing.T) {
	f := findings{most: 3}
	for i := range 10 {
		f.add(Know, "x", fmt.Sprint(i))
	}
	f.add(Cannot, "y", "")
	all := f.sorted()
	if len(all) != 2 || all[0].What != "y" || all[1].Count != 10 || len(all[1].Paths) != 3 {
		t.Errorf("%+v, want y, and 10 of x, 3 of them listed", all)
	}
}

// TestAnEstimateIsOfFilesAndOfBytes has what it takes to open files told apart from what their bytes take.
func TestAnEstimateIsOfFilesAndOfBytes(t *testing.T) {
	var m measured
	for range 4 {
		m.add(measured{files: 1, first: 2 * time.Millisecond})
	}
	m.add(measured{files: 1, long: 1, first: 2 * time.Millisecond, bytes: 1 << 20, rest: time.Second})
	if files, bytes := m.rates(8); files != 2500 || bytes != 1<<20 {
		t.Errorf("%g files and %g bytes a second, want 2500, by five at once, and 1 MiB, by the one that has any", files, bytes)
	}
	if files, bytes := (&measured{}).rates(8); files != 0 || bytes != 0 {
		t.Errorf("of nothing: %g files and %g bytes a second, want 0", files, bytes)
	}
	src := t.TempDir()
	for name, n := range map[string]int{"small": 7, "smaller": 1, "long": 3 << 20} {
		if err := os.WriteFile(filepath.Join(src, name), make([]byte, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Run(t.Context(), Config{Source: src, Destination: t.TempDir(), Sample: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Estimate; e.FilesPerSecond == 0 || e.BytesPerSecond == 0 || !strings.Contains(e.How, "2.8 MiB behind their first 256.0 KiB") {
		t.Errorf("%+v; want rates of files and of bytes, the latter for 2.75 MiB", e)
	}
}
