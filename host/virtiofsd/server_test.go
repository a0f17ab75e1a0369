package virtiofsd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

// folderVariable in the environment makes the test binary a process that serves that folder until it is killed.
const folderVariable = "USUI_TEST_VIRTIOFSD_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(folderVariable); folder != "" {
		s, err := Start(context.Background(), Config{Folder: folder, ReadOnly: true})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.cmd.Process.Pid)
		select {}
	}
	os.Exit(m.Run())
}

// serve starts a server of a new folder.
func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	need.Root(t)
	need.Tool(t, "virtiofsd", "qemu-system-common")
	if cfg.Folder == "" {
		cfg.Folder = t.TempDir()
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// members are the processes of a server that are not dead.
func members(t *testing.T, group int) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" && f[0] != "X" {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

func TestEveryWayToEndLeavesNoProcess(t *testing.T) {
	ways := map[string]func(s *Server){
		"Close":          func(s *Server) { s.Close() },
		"End":            func(s *Server) { s.End() },
		"End twice":      func(s *Server) { s.End(); s.End() },
		"a lost client":  func(s *Server) { s.Client.Close(); <-s.done },
		"a kill":         func(s *Server) { unix.Kill(s.cmd.Process.Pid, unix.SIGKILL); <-s.done },
		"Close when end": func(s *Server) { s.End(); s.Close() },
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{})
			group := s.cmd.Process.Pid
			if len(members(t, group)) == 0 {
				t.Fatal("no process serves")
			}
			end(s)
			if left := members(t, group); len(left) > 0 {
				t.Errorf("processes %v are left; they said %q", left, s.Words())
			}
			<-s.Client.Lost()
		})
	}
}

// When the process that shares a folder is killed, its servers end, those in namespaces too.
func TestServersEndWithTheirOwner(t *testing.T) {
	need.Root(t)
	need.Tool(t, "virtiofsd", "qemu-system-common")
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), folderVariable+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	group, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the owner says %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the owner ended by itself")
	}
	for { // as a subreaper this process gets them all, and waits until each has ended
		if _, err := unix.Wait4(-group, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if left := members(t, group); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestNothingIsLeftInTheTemporaryFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s := serve(t, Config{Folder: "/", ReadOnly: true})
	if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
		t.Errorf("%v, %v are in the temporary folder", entries, err)
	}
	if s.Sandbox == "" {
		t.Error("no word on the sandbox")
	}
}

func TestFoldersWithOddNames(t *testing.T) {
	for _, name := range []string{"with space", "with,comma", `with\backslash`, "-o", "%s", "größe"} {
		folder := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		serve(t, Config{Folder: folder})
	}
}

func TestAFolderThatIsNone(t *testing.T) {
	need.Root(t)
	need.Tool(t, "virtiofsd", "qemu-system-common")
	_, err := Start(t.Context(), Config{Folder: filepath.Join(t.TempDir(), "missing")})
	if err == nil || !strings.Contains(err.Error(), "; it says: ") || !strings.Contains(err.Error(), "missing") {
		t.Errorf("Start = %v, want the program's own words", err)
	}
}

func TestArguments(t *testing.T) {
	for version, rust := range map[string]bool{
		"virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright": false, "virtiofsd 1.13.2\n": true, "virtiofsd backend 1.0": true,
	} {
		if got := isRust(version); got != rust {
			t.Errorf("isRust(%q) = %v", version, got)
		}
	}
	cfg := Config{Folder: `/a,b\c`}
	if got := (program{}).args(cfg, "chroot", 3); !slices.Contains(got, `source=/a\,b\\c`) || !slices.Contains(got, "sandbox=chroot") || got[0] != "--fd=3" {
		t.Errorf("arguments of the one in C: %q", got)
	}
	if got := (program{rust: true}).args(cfg, "none", 3); !slices.Contains(got, `--shared-dir=/a,b\c`) || !slices.Contains(got, "--sandbox=none") || got[0] != "--fd=3" {
		t.Errorf("arguments of the one in Rust: %q", got)
	}
}
