package pid1

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/pid1/wire"
)

// insideVariable names, in the process that inNamespaces starts, the test that runs there.
const insideVariable = "USUI_TEST_PID1_INSIDE"

// inNamespaces runs f, the body of the test t, as root of its own mount, host name and network namespaces: what PID 1
// does to a guest then does nothing to this host.
func inNamespaces(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideVariable) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		f(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	inside.Env = append(os.Environ(), insideVariable+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWNET}
	out, err := inside.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("namespaces need root")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in namespaces: %v\n%s", err, out)
	}
}

// enterEmptyRoot makes an empty tmpfs the root, as the kernel does for an initramfs.
func enterEmptyRoot(t *testing.T) {
	t.Helper()
	const dir = "/mnt"
	for _, err := range []error{
		unix.Mount("root", dir, "tmpfs", 0, ""), unix.Chdir(dir), unix.Chroot("."),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// mounts maps each mount point below the root to its type.
func mounts(t *testing.T) map[string]string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]string)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		list[f[1]] = f[2]
	}
	return list
}

func TestMountAll(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		enterEmptyRoot(t)
		if err := mountAll(); err != nil {
			t.Fatal(err)
		}
		have := mounts(t)
		for _, m := range systemMounts {
			if have[m.target] != m.fstype {
				t.Errorf("%s is %q, want %q", m.target, have[m.target], m.fstype)
			}
		}
		for _, file := range []string{"/dev/null", "/dev/ptmx", "/dev/fd/0", "/dev/stdin", "/proc/self/stat"} {
			if _, err := os.Lstat(file); err != nil {
				t.Error(err)
			}
		}
		if name, err := os.Hostname(); name != "usui" {
			t.Errorf("host name %q, %v", name, err)
		}
		if cmdlineHas("no-such-word") {
			t.Error("the kernel command line has no-such-word")
		}
		if err := raiseLoopback(); err != nil {
			t.Fatal(err)
		}
		if flags, err := os.ReadFile("/sys/class/net/lo/flags"); string(flags) != "0x9\n" { // IFF_UP | IFF_LOOPBACK
			t.Errorf("flags of lo = %q, %v", flags, err)
		}
	})
}

// Programs in the new root can make user namespaces, which chroot alone would forbid, and find the mounts of the old one.
func TestRootStep(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		const dir = "/mnt"
		for _, m := range moved {
			if err := unix.Mount(m, m, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(t.TempDir(), "file")
		for _, s := range []wire.Step{wire.Write(file, "kept"), wire.Bind("/", dir), wire.Root(dir)} {
			if err := do(s); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
		}
		if text, err := os.ReadFile(file); string(text) != "kept" {
			t.Errorf("file in /tmp: %q, %v", text, err)
		}
		program := exec.Command("/bin/true")
		program.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		if err := program.Run(); err != nil {
			t.Errorf("user namespace in the new root: %v", err)
		}
		if err := do(wire.Root("/no/such")); err == nil {
			t.Error("a missing root was entered")
		}
	})
}

func TestMountAndBindSteps(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		enterEmptyRoot(t)
		if err := mountAll(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []wire.Step{
			wire.Mount("tmpfs", "x", "/made/on/the/way", "size=64k,noexec"),
			wire.Write("/made/on/the/way/file", "text"),
			wire.Mount("tmpfs", "x", "/made/on/the/way", "remount,ro,noexec"),
			wire.Bind("/made/on/the/way", "/seen"),
			wire.Bind("/dev/zero", "/made/on/the/way/file"), // over a file of a read-only file system
			wire.Bind("/dev/null", "/new/node"),
			wire.Wait("/dev/null"),
		} {
			if err := do(s); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
		}
		if text, err := os.ReadFile("/seen/file"); string(text) != "text" {
			t.Errorf("/seen/file = %q, %v", text, err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs("/seen", &st); err != nil || st.Flags&unix.MS_RDONLY == 0 || st.Flags&unix.MS_NOEXEC == 0 {
			t.Errorf("flags of /seen = %#x, %v, want ro and noexec", st.Flags, err)
		}
		for node, want := range map[string]uint64{"/made/on/the/way/file": unix.Mkdev(1, 5), "/new/node": unix.Mkdev(1, 3)} {
			var st unix.Stat_t
			if err := unix.Stat(node, &st); err != nil || st.Rdev != want {
				t.Errorf("%s is device %#x, %v, want %#x", node, st.Rdev, err, want)
			}
		}
		for _, s := range []wire.Step{
			wire.Mount("no-such-type", "x", "/a", ""), wire.Bind("/none", "/a"), wire.Bind("/dev/null", "/proc/no/file"),
			wire.Write("/proc/none", ""), wire.Module("/none.ko", ""), wire.Module("/made", ""), {Do: "dance"},
		} {
			if err := do(s); err == nil {
				t.Errorf("%v: no error", s)
			}
		}
	})
}

// Nested mounts are taken off in the right order; one in use becomes read-only.
func TestSettle(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		enterEmptyRoot(t)
		if err := mountAll(); err != nil {
			t.Fatal(err)
		}
		overlay := func(target string) {
			base := "/layers" + strings.ReplaceAll(target, " ", "-")
			for _, dir := range []string{"/lower", "/upper", "/work"} {
				if err := os.MkdirAll(base+dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			options := "lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
			if err := do(wire.Mount("overlay", "o", target, options)); err != nil {
				t.Fatal(err)
			}
		}
		overlay("/outer one")
		overlay("/outer one/inner")
		overlay("/busy")
		f, err := os.Open("/busy")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// A mistake here would make file systems of this host read-only.
		for target, fstype := range mounts(t) {
			if fstype != "overlay" && !virtual(fstype) {
				t.Fatalf("%s at %s is not of this test", fstype, target)
			}
		}
		if remarks := settle(); len(remarks) != 0 {
			t.Errorf("settle() = %q", remarks)
		}
		have := mounts(t)
		if have[`/outer\040one`] != "" || have[`/outer\040one/inner`] != "" || have["/busy"] != "overlay" {
			t.Errorf("mounts are %v, want busy and not outer", have)
		}
		if err := os.WriteFile("/busy/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("write to what was in use: %v, want a read-only file system", err)
		}
	})
}

func TestMountOptions(t *testing.T) {
	tests := []struct {
		options string
		flags   uintptr
		data    string
	}{
		{"", 0, ""},
		{"defaults,rw", 0, ""},
		{"trans=virtio,version=9p2000.L,ro", unix.MS_RDONLY, "trans=virtio,version=9p2000.L"},
		{"nosuid,nodev,noexec,noatime,relatime,sync,dirsync,remount", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
			unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_REMOUNT, ""},
	}
	for _, tt := range tests {
		if flags, data := mountOptions(tt.options); flags != tt.flags || data != tt.data {
			t.Errorf("mountOptions(%q) = %#x, %q, want %#x, %q", tt.options, flags, data, tt.flags, tt.data)
		}
	}
}

func TestLoadModules(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "modules")
	if remarks := loadModules(list); remarks != nil {
		t.Errorf("without a list: %q", remarks)
	}
	bad := filepath.Join(dir, "bad.ko")
	for file, text := range map[string]string{bad: "no module", list: bad + "\n" + dir + "/none.ko\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remarks := loadModules(list)
	if len(remarks) != 2 || !strings.HasPrefix(remarks[0], "load module "+bad+": ") || !strings.Contains(remarks[1], "none.ko") {
		t.Errorf("loadModules() = %q, want a remark for each line", remarks)
	}
}

func TestDriversOfDevicesThatAreThere(t *testing.T) {
	pci, lists := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		pci + "/0000:00:01.0/vendor": "0x1af4\n", pci + "/0000:00:01.0/device": "0x1041\n",
		pci + "/0000:00:02.0/vendor": "0x1af4\n", pci + "/0000:00:02.0/device": "0x1041\n",
		pci + "/0000:00:03.0/vendor": "0x8086\n", pci + "/0000:00:03.0/device": "0x100e\n",
		lists + "/1af4:1041": "/none/net.ko\n", lists + "/1af4:1045": "/none/balloon.ko\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if remarks := loadDeviceModules(pci, lists); len(remarks) != 1 || !strings.Contains(remarks[0], "/none/net.ko") {
		t.Errorf("loadDeviceModules() = %q, want a remark on net.ko alone", remarks)
	}
	if remarks := loadDeviceModules(pci+"/none", lists); remarks != nil {
		t.Errorf("without PCI: %q", remarks)
	}
}

// reads is a reader that gives one text or error after the other.
type reads []any

func (r *reads) Read(p []byte) (int, error) {
	next := (*r)[0]
	*r = (*r)[1:]
	if err, ok := next.(error); ok {
		return 0, err
	}
	return copy(p, next.(string)), nil
}

func TestNewcomers(t *testing.T) {
	end, came := errors.New("enough"), 0
	left := []int{} // events after each newcomer
	events := &reads{
		"add@/devices/pci0000:00/0000:00:05.0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:05.0\x00SUBSYSTEM=pci\x00PCI_ID=1AF4:1041\x00",
		"bind@/devices/x\x00ACTION=bind\x00SUBSYSTEM=pci\x00", "add@/devices/y\x00ACTION=add\x00SUBSYSTEM=net\x00",
		"remove@/devices/x\x00ACTION=remove\x00SUBSYSTEM=pci\x00", "", "\x00\x00", "ACTION=addSUBSYSTEM=pci",
		&os.PathError{Op: "read", Path: "events", Err: unix.ENOBUFS},
		end,
	}
	err := eachNewcomer(events, func() { came++; left = append(left, len(*events)) })
	if err != end || came != 2 || left[0] != 8 || left[1] != 1 {
		t.Errorf("eachNewcomer = %v, %d newcomers with %v events left; want the end, 2, [8 1]", err, came, left)
	}
	if err := loadDriversOfNewcomers(t.TempDir(), t.TempDir()+"/none"); err != nil {
		t.Errorf("without lists: %v", err)
	}
}

// TestNetStep configures a tap, which only lacks a cable.
func TestNetStep(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil { // of this network namespace
			t.Fatal(err)
		}
		tap, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			t.Skip("no /dev/net/tun")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		request, err := unix.NewIfreq("card0")
		if err != nil {
			t.Fatal(err)
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(int(tap.Fd()), unix.TUNSETIFF, request); err != nil {
			t.Fatal(err)
		}
		card, err := net.InterfaceByName("card0")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nothing is left to do
			if err := do(wire.Net(strings.ToUpper(card.HardwareAddr.String()), "10.0.2.15/24", "10.0.2.2")); err != nil {
				t.Fatal(err)
			}
		}
		addresses, err := card.Addrs()
		if err != nil || len(addresses) == 0 || addresses[0].String() != "10.0.2.15/24" {
			t.Errorf("addresses %v, %v, want 10.0.2.15/24", addresses, err)
		}
		if card, err = net.InterfaceByName("card0"); err != nil || card.Flags&net.FlagUp == 0 {
			t.Errorf("interface %+v, %v, want it up", card, err)
		}
		routes, err := os.ReadFile("/proc/thread-self/net/route")
		if err != nil || !strings.Contains(string(routes), "card0\t00000000\t0202000A\t0003") {
			t.Errorf("routes, %v, want one by 10.0.2.2:\n%s", err, routes)
		}
		for _, s := range []wire.Step{
			wire.Net(card.HardwareAddr.String(), "10.0.2.15", "10.0.2.2"), wire.Net(card.HardwareAddr.String(), "fd00::2/64", "10.0.2.2"),
			wire.Net(card.HardwareAddr.String(), "10.0.2.15/24", "nowhere"), wire.Net(card.HardwareAddr.String(), "10.0.2.15/24", "192.168.1.1"),
		} {
			if err := do(s); err == nil {
				t.Errorf("%v: no error", s)
			}
		}
	})
}

func TestFindCard(t *testing.T) {
	class := t.TempDir()
	for name, text := range map[string]string{"lo": "00:00:00:00:00:00\n", "eth0": "52:54:00:00:00:01\n", "eth1": "52:54:00:00:00:0a\n"} {
		if err := os.Mkdir(filepath.Join(class, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, name, "address"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for card, want := range map[string]string{"52:54:00:00:00:0A": "eth1", "52:54:00:00:00:02": ""} {
		if got := findCard(class, card); got != want {
			t.Errorf("findCard(%s) = %q, want %q", card, got, want)
		}
	}
}

func TestFindPorts(t *testing.T) {
	class := t.TempDir()
	for port, name := range map[string]string{"vport0p1": "usui.control\n", "vport0p2": "org.qemu.guest_agent.0\n", "vport1p1": "usui.stderr\n"} {
		if err := os.Mkdir(filepath.Join(class, port), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, port, "name"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(class, "vport0p0"), 0o755); err != nil { // one that has no name yet
		t.Fatal(err)
	}
	found := findPorts(class)
	if len(found) != 2 || found["usui.control"] != "vport0p1" || found["usui.stderr"] != "vport1p1" {
		t.Errorf("findPorts() = %v", found)
	}
}

func TestWaitForGivesUp(t *testing.T) {
	err := waitFor(time.Millisecond, func() (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "not there after 1ms") {
		t.Errorf("waitFor() = %v", err)
	}
	broken := errors.New("broken")
	if err := waitFor(time.Hour, func() (bool, error) { return false, broken }); err != broken {
		t.Errorf("waitFor() = %v, want %v", err, broken)
	}
}

// A uevent of the kernel wakes waitFor: the second question comes after the event that the first one causes.
func TestWaitForSeesEvents(t *testing.T) {
	const trigger = "/sys/class/mem/null/uevent"
	if f, err := os.OpenFile(trigger, os.O_WRONLY, 0); err != nil {
		t.Skipf("cannot cause a uevent: %v", err)
	} else {
		f.Close()
	}
	asked := 0
	err := waitFor(time.Hour, func() (bool, error) {
		if asked++; asked > 1 {
			return true, nil
		}
		return false, os.WriteFile(trigger, []byte("change"), 0)
	})
	if err != nil || asked < 2 {
		t.Errorf("waitFor() = %v after %d questions", err, asked)
	}
}

func TestWithin(t *testing.T) {
	if got := within(time.Hour, func() []string { return []string{"done"} }); len(got) != 1 || got[0] != "done" {
		t.Errorf("within() = %q, want done", got)
	}
	never := make(chan struct{})
	defer close(never)
	got := within(time.Millisecond, func() []string { <-never; return nil })
	if len(got) != 1 || !strings.Contains(got[0], "not unmounted after 1ms") {
		t.Errorf("within() = %q, want a remark", got)
	}
}

func TestMainElsewhere(t *testing.T) {
	if err := Main(); err == nil {
		t.Error("Main() did something though it is not the first process")
	}
	defer func() {
		if v := recover(); v != "x" {
			t.Errorf("rescue gave %v, want the panic to go on", v)
		}
	}()
	defer rescue()
	panic("x")
}

func TestDescribe(t *testing.T) {
	var h wire.Hello
	describe(&h)
	if h.Kernel == "" || h.CPUs < 1 || h.MemoryBytes < 16<<20 || uptime() <= 0 {
		t.Errorf("describe() = %+v, uptime %v", h, uptime())
	}
}
