package fsmove

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/control"
)

// TestLabASourceOverNFSIsMoved has a stock kernel's client, and names of one inode, which stay that.
func TestLabASourceOverNFSIsMoved(t *testing.T) {
	need.Lab(t)
	modules(t, "fuse", "nfsv4")
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "links"), 0o755), os.WriteFile(filepath.Join(dir, "links/a"), nil, 0o600), os.Link(filepath.Join(dir, "links/a"), filepath.Join(dir, "links/b"))); err != nil {
		t.Fatal(err)
	}
	giveAddress(t)
	port, _ := startGanesha(t, dir, "None")
	mount := func(t *testing.T, _, at string) { mountNFS(t, port, at) }
	dst := moveServed(t, 60, served{dir, map[string][]byte{"links/a": nil, "links/b": nil}, mount, []string{"on NFS"}})
	var a, b unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Join(dst, "links/a"), &a), unix.Stat(filepath.Join(dst, "links/b"), &b)); err != nil || a.Ino != b.Ino {
		t.Errorf("the two names are of inodes %d and %d, %v; want one", a.Ino, b.Ino, err)
	}
}

// TestLabWhatAnNFSServerKeepsFromRootIsTold has a server to which root is nobody (root_squash): what only its owner reads is in the plan, in the report, and missing to nobody else.
func TestLabWhatAnNFSServerKeepsFromRootIsTold(t *testing.T) {
	need.Lab(t)
	modules(t, "fuse", "nfsv4")
	giveAddress(t)
	dir := t.TempDir()
	want := sow(t, dir, 20, 50_000)
	if err := os.WriteFile(filepath.Join(dir, "private"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	port, _ := startGanesha(t, dir, "Root_Squash")
	src, dst, at := paths(t)
	mountNFS(t, port, src)
	s := served{plan: []string{"entries that cannot be read"}}
	s.checkPlan(t, src, dst)
	v := startKept(t, src, dst, at)
	for {
		_, status := v.ask(t)
		if slices.ContainsFunc(status.Failures, func(f control.Failure) bool { return f.Path == "private" }) {
			break
		}
		<-time.After(50 * time.Millisecond) // until it is asked again
	}
	for name := range want {
		if err := sameFile(dir, at, name); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(at, "private")); err == nil {
		t.Errorf("what cannot be had is read as %q", got)
	}
}

// giveAddress has the lab have an address: ganesha takes none of a host that has but the loopback's (AI_ADDRCONFIG in getaddrinfo(3)). This one is for documentation (RFC 5737).
func giveAddress(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("ip", "address", "replace", "192.0.2.1/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("ip: %v, %s", err, out)
	}
}

// TestLabASourceOverSMBIsMoved has it with the server's numbers of inodes, and with those that the client invents.
func TestLabASourceOverSMBIsMoved(t *testing.T) {
	need.Lab(t)
	modules(t, "fuse", "cifs")
	for _, numbers := range []string{"serverino", "noserverino"} {
		t.Run(numbers, func(t *testing.T) {
			dir := t.TempDir()
			_, port, _ := startSamba(t, dir)
			mount := func(t *testing.T, _, at string) {
				mountServed(t, "cifs", "//127.0.0.1/moved", at, fmt.Sprintf("ip=127.0.0.1,port=%s,username=nobody,password=none,vers=3.1.1,%s", port, numbers))
			}
			moveServed(t, 60, served{dir, nil, mount, []string{"on SMB", "other numbers"}})
		})
	}
}

// mountNFS mounts what ganesha exports. Not by NFS 4.2: Linux 6.12 and ganesha 4.3 do not agree on READ_PLUS, and give zeros or EIO to everybody.
func mountNFS(t *testing.T, port, at string) {
	t.Helper()
	mountServed(t, "nfs4", "127.0.0.1:/moved", at, "vers=4.1,addr=127.0.0.1,clientaddr=127.0.0.1,proto=tcp,port="+port)
}

// mountServed mounts what a server has, until the test ends, without a helper (mount(8)) and its daemons.
func mountServed(t *testing.T, kind, what, at, options string) {
	t.Helper()
	if err := unix.Mount(what, at, kind, 0, options); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(at, unix.MNT_DETACH) // an error says that the test has done so
	})
}

// modules loads modules of the lab's kernel.
func modules(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if out, err := exec.Command("modprobe", name).CombinedOutput(); err != nil {
			t.Fatalf("modprobe %s: %v, %s", name, err, out)
		}
	}
}
