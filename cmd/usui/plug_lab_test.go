package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usui/host/need"
	"usui/internal/lab"
)

// session is a machine with a shell that takes lines.
type session struct {
	t    *testing.T
	usui string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startSession starts a machine called "web", which other commands can find.
func startSession(t *testing.T, args ...string) *session {
	t.Helper()
	need.Lab(t, lab.KVM)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, usui: path}
	s.cmd = exec.CommandContext(patience(t), path, append(append([]string{"run", "--no-lab", "--name", "web"}, args...), "--", "sh")...)
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.guest("true") // it is up
	return s
}

// guest runs a command in the guest and returns its output, on one line.
func (s *session) guest(command string) string {
	s.t.Helper()
	const end = "-end-of-output-"
	if _, err := fmt.Fprintf(s.in, "{ %s ; } 2>&1; echo; echo %s\n", command, end); err != nil {
		s.t.Fatal(err)
	}
	var text []string
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v after %q", command, err, text)
		}
		if line = strings.TrimSpace(line); line == end {
			return strings.Join(text, " ")
		}
		if line != "" {
			text = append(text, line)
		}
	}
}

// host runs another command of usui and returns its output.
func (s *session) host(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), s.usui, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("usui %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// end lets the guest's shell end.
func (s *session) end() {
	s.t.Helper()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		s.t.Error(err)
	}
}

// TestLabPlugADisk gives a running guest a disk, takes it away, and does so again.
func TestLabPlugADisk(t *testing.T) {
	s := startSession(t)
	image := filepath.Join(t.TempDir(), "new.img")
	const wait = `i=0; until [ %s /sys/block/vda ] || [ $i = 300 ]; do sleep 0.1; i=$((i+1)); done; `
	appear, vanish := fmt.Sprintf(wait, "-e"), fmt.Sprintf(wait, "! -e")
	for round := range 2 {
		if err := os.WriteFile(image, []byte(fmt.Sprintf("round %d of this disk\n", round)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 8<<20); err != nil {
			t.Fatal(err)
		}
		name := s.host("plug", "--disk", image+",ro", "web")
		if want := fmt.Sprintf("disk%d", round); name != want {
			t.Errorf("plug says %q, want %q", name, want)
		}
		if got, want := s.guest(appear+"cat /sys/block/vda/size; head -1 /dev/vda"), fmt.Sprintf("16384 round %d of this disk", round); got != want {
			t.Errorf("the guest sees %q, want %q", got, want)
		}
		if list := s.host("unplug", "web"); !strings.Contains(list, name) || !strings.Contains(list, image) || !strings.Contains(list, "present") {
			t.Errorf("devices:\n%s\nwant %s among them", list, name)
		}
		if top := s.host("top", "--json", "--count", "1", "web"); !strings.Contains(top, image) {
			t.Errorf("top does not know of the disk: %s", top)
		}
		s.host("unplug", "web", name)
		if got := s.guest(vanish + "ls /sys/block | grep -c vd"); got != "0" {
			t.Errorf("%s disks are left in the guest", got)
		}
	}
	s.end()
}

// TestLabPlugACard gives a running guest a network card, uses it, takes it away, and does so again.
func TestLabPlugACard(t *testing.T) {
	s := startSession(t)
	const wait = `i=0; until [ %s /sys/class/net/eth0 ] || [ $i = 300 ]; do sleep 0.1; i=$((i+1)); done; `
	appear, vanish := fmt.Sprintf(wait, "-e"), fmt.Sprintf(wait, "! -e")
	for round, options := range []string{"", ",mac=02:00:00:00:00:0b,tx-pps=1000,rx-bw=1M"} {
		said := s.host("plug", "--net", "tap"+options, "web")
		name := fmt.Sprintf("net%d", round)
		if !strings.HasSuffix(said, "\n"+name) {
			t.Fatalf("plug says %q, want %s in its last line", said, name)
		}
		list := strings.Fields(s.host("unplug", "web"))
		tap := list[len(list)-1]
		host(t, "ip", "addr", "add", "10.7.0.1/24", "dev", tap)
		up := appear + "ip addr add 10.7.0.2/24 dev eth0; ip link set eth0 up; "
		if got := s.guest(up + "ping -c 3 10.7.0.1"); !strings.Contains(got, " 0% packet loss") {
			t.Errorf("the guest does not reach %s: %s", tap, got)
		}
		if mac := s.guest("cat /sys/class/net/eth0/address"); round == 1 && mac != "02:00:00:00:00:0b" {
			t.Errorf("the card has the address %s", mac)
		}
		if top := s.host("top", "--json", "--count", "1", "web"); !strings.Contains(top, tap) {
			t.Errorf("top does not know of %s: %s", tap, top)
		}
		s.host("unplug", "web", name)
		if got := s.guest(vanish + "ls /sys/class/net"); got != "lo" {
			t.Errorf("interfaces that are left in the guest: %s", got)
		}
		if _, err := net.InterfaceByName(tap); err == nil {
			t.Errorf("the interface %s is still there", tap)
		}
	}
	s.end()
}

// TestLabUnplugWhatWasThere takes away devices that a machine started with. What was behind them is free again.
func TestLabUnplugWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	image, folder := filepath.Join(dir, "d.img"), filepath.Join(dir, "two%")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	host(t, "ip", "tuntap", "add", "dev", "again", "mode", "tap")
	t.Cleanup(func() { exec.Command("ip", "link", "del", "again").Run() })
	s := startSession(t, "--disk", image, "--net", "tap=again,mac=02:00:00:00:00:0c", "--share", folder, "--balloon", "on")
	pid := s.cmd.Process.Pid
	if n := children(t, pid); n == 0 {
		t.Error("no process serves the folder")
	}
	s.refused("already", "plug", "--net", "tap=again", "web")
	s.refused("already", "plug", "--net", "tap,mac=02:00:00:00:00:0c", "web")
	for _, name := range []string{"disk0", "net0", "share two%", "balloon"} {
		s.host("unplug", "web", name)
	}
	if list := s.host("unplug", "web"); strings.Contains(list, image) || strings.Contains(list, "again") || strings.Contains(list, "share") || strings.Contains(list, "balloon") {
		t.Errorf("devices that were unplugged are still there:\n%s", list)
	}
	if top := s.host("top", "--json", "--count", "1", "web"); strings.Contains(top, image) || strings.Contains(top, "again") {
		t.Errorf("top still knows devices that were unplugged: %s", top)
	}
	if n := children(t, pid); n != 0 {
		t.Errorf("%d processes are left of what served the folder", n)
	}
	s.refused("no balloon", "balloon", "web", "100M")
	s.host("plug", "--disk", image, "web")
	s.host("plug", "--net", "tap=again,mac=02:00:00:00:00:0c", "web")
	if got := s.guest("i=0; until [ -e /sys/block/vda -a -e /sys/class/net/eth0 ] || [ $i = 300 ]; do sleep 0.1; i=$((i+1)); done; echo $i"); got == "300" {
		t.Error("the guest does not see the devices again")
	}
	s.end()
}

// refused runs another command of usui that must fail with these words.
func (s *session) refused(why string, args ...string) {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), s.usui, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) {
		s.t.Errorf("usui %q: %v, %q; want it refused with %q", args, err, out, why)
	}
}

// children counts the processes whose parent is pid.
func children(t *testing.T, pid int) (n int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // proc(5)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) { // a thread that ended meanwhile
			t.Fatal(err)
		}
		n += len(strings.Fields(string(text)))
	}
	return n
}

// TestLabBalloonCommand takes memory from a running guest and gives it back.
func TestLabBalloonCommand(t *testing.T) {
	s := startSession(t, "--memory", "512M", "--balloon", "on")
	const wait = `i=0; until [ $(awk '/MemFree/ {print $2}' /proc/meminfo) %s 250000 ] || [ $i = 300 ]; do sleep 0.1; i=$((i+1)); done; echo $i`
	s.host("balloon", "web", "300M")
	if got := s.guest(fmt.Sprintf(wait, "-lt")); got == "300" {
		t.Error("the guest keeps its memory")
	}
	if got := s.host("balloon", "web"); !strings.Contains(got, "target  300 MiB") || !strings.Contains(got, "MiB available") {
		t.Errorf("the balloon is\n%s", got)
	}
	s.host("balloon", "web", "0")
	if got := s.guest(fmt.Sprintf(wait, "-gt")); got == "300" {
		t.Error("the guest does not get its memory back")
	}
	s.end()
}
