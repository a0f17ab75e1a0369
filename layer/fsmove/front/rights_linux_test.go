package front

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// rights is a file capability, as the kernel keeps it: struct vfs_cap_data with CAP_NET_BIND_SERVICE.
const rights = "\x00\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// asUser calls f as a user without capabilities, in a group.
func asUser(t *testing.T, uid, gid int, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() { // ends at once, and its thread, which has another user, with it
		runtime.LockOSThread()
		_, err1 := unix.SetfsgidRetGid(gid)
		_, err2 := unix.SetfsuidRetUid(uid) // takes the capabilities that are about files, too
		if err := errors.Join(err1, err2); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// about is what somebody who executes a file would get by it.
func about(t *testing.T, path string) string {
	t.Helper()
	m, err := tree.Stat(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return fmt.Sprintf("%o, capabilities %t", m.Mode, err == nil && n > 0)
}

// taker is a way to change a file.
type taker struct {
	name   string
	byPath bool // without having it open
	take   func(fd int, path string) error
}

var takers = []taker{
	{"write", false, func(fd int, _ string) error { _, err := unix.Pwrite(fd, []byte("x"), 3); return err }},
	{"cut", false, func(fd int, _ string) error { return unix.Ftruncate(fd, 10) }},
	{"extend", false, func(fd int, _ string) error { return unix.Ftruncate(fd, 3<<20) }},
	{"reserve", false, func(fd int, _ string) error { return unix.Fallocate(fd, 0, 0, 3<<20) }},
	{"punch", false, func(fd int, _ string) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}},
	{"read", false, func(fd int, _ string) error { _, err := unix.Pread(fd, make([]byte, 10), 0); return err }},
	{"truncate", true, func(_ int, path string) error { return unix.Truncate(path, 10) }},
	{"open to overwrite", true, func(_ int, path string) error {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}},
	{"chown", true, func(_ int, path string) error { return unix.Lchown(path, -1, 1001) }},
	{"chown to nobody", true, func(_ int, path string) error { return unix.Lchown(path, -1, -1) }},
	{"set times", true, func(_ int, path string) error {
		return unix.Utimes(path, []unix.Timeval{{Sec: 1}, {Sec: 1}})
	}},
}

// TestRightsGoAsOnPlainFiles has users change files that give rights to who executes them: files that are carried, and files that got the rights while the kernel wrote them itself.
func TestRightsGoAsOnPlainFiles(t *testing.T) {
	plain, v := t.TempDir(), begin(t, t.TempDir())
	for _, dir := range []string{plain, v.at} {
		if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range takers {
		for _, uid := range []int{0, 1001, 1002} { // root, the owner and another
			for _, mode := range []uint32{0o6777, 0o4777, 0o2777, 0o2766, 0o777} {
				for _, late := range []bool{false, true} {
					if k.byPath && late || k.name == "chown to nobody" && uid != 1001 { // for root the kernel does not tell that from a write
						continue
					}
					want, err1 := k.use(t, plain, uid, mode, late)
					got, err2 := k.use(t, v.at, uid, mode, late)
					if got != want || !sameError(err2, err1) {
						t.Errorf("%s by %d of %o, late %t: %s, %v; on plain files %s, %v", k.name, uid, mode, late, got, err2, want, err1)
					}
				}
			}
		}
	}
}

// use changes a file that gives rights, from the beginning or from when it is open and was written, and says what is left of them.
func (k *taker) use(t *testing.T, dir string, uid int, mode uint32, late bool) (left string, err error) {
	t.Helper()
	path, fd := filepath.Join(dir, "file"), -1
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	open := func() {
		if !k.byPath {
			fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
			must(err)
		}
	}
	must(os.WriteFile(path, make([]byte, 16<<10), 0o666), os.Chown(path, 1001, 1001))
	if late {
		open()
		_, err := unix.Pwrite(fd, []byte("y"), 0) // the kernel has seen that nothing gives rights
		must(err)
	}
	must(unix.Chmod(path, mode), unix.Setxattr(path, capabilities, []byte(rights), 0))
	if !late {
		open()
	}
	if uid == 0 {
		err = k.take(fd, path)
	} else {
		err = asUser(t, uid, 1001, func() error { return k.take(fd, path) })
	}
	left = about(t, path)
	if fd >= 0 {
		must(unix.Close(fd))
	}
	must(os.Remove(path))
	return left, err
}

// TestNobodyTakesRightsOfAnother has somebody change the owner of a file that is not theirs to nobody. The kernel sends that here without a look at whose the file is.
func TestNobodyTakesRightsOfAnother(t *testing.T) {
	v := begin(t, t.TempDir())
	path := filepath.Join(v.at, "file")
	err := errors.Join(os.Chmod(v.at, 0o777), os.Chmod(filepath.Dir(v.at), 0o777), os.WriteFile(path, nil, 0o755), unix.Chmod(path, 0o4755), unix.Setxattr(path, capabilities, []byte(rights), 0))
	if err != nil {
		t.Fatal(err)
	}
	want := about(t, path)
	if err := asUser(t, 1001, 1001, func() error { return unix.Lchown(path, -1, -1) }); !errors.Is(err, unix.EPERM) {
		t.Errorf("chown to nobody by another = %v, want %v", err, unix.EPERM)
	}
	if got := about(t, path); got != want {
		t.Errorf("it leaves %s, want %s", got, want)
	}
}

// TestAWriteAsksNothing writes a file that is complete.
func TestAWriteAsksNothing(t *testing.T) {
	v := begin(t, t.TempDir())
	fd, err := unix.Open(filepath.Join(v.at, "file"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const writes = 200
	before := v.mount.answered.Load()
	for i := range writes {
		if _, err := unix.Pwrite(fd, []byte("x"), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.mount.answered.Load() - before; n > writes/10 {
		t.Errorf("%d writes have asked %d times", writes, n)
	}
}

// TestAnACLTakesSetGroupIDAway has an owner who is not in the group set one, on the mount and on a plain file.
func TestAnACLTakesSetGroupIDAway(t *testing.T) {
	// Version 2, and the permissions of owner, group and others, as struct posix_acl_xattr_entry of linux/posix_acl_xattr.h.
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	v := begin(t, t.TempDir())
	plain := t.TempDir()
	var modes []uint32
	for _, dir := range []string{plain, v.at} {
		path := filepath.Join(dir, "f")
		if err := errors.Join(os.WriteFile(path, nil, 0o755), unix.Chown(path, 1000, 2000), unix.Chmod(path, 0o2755), unix.Chmod(dir, 0o755), unix.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		dirFd, err := unix.Open(path, unix.O_RDONLY, 0) // another user may not come by the path
		if err != nil {
			t.Fatal(err)
		}
		err = asUser(t, 1000, 1000, func() error { return unix.Fsetxattr(dirFd, "system.posix_acl_access", []byte(acl), 0) })
		m, stated := tree.Stat(unix.AT_FDCWD, path)
		if err := errors.Join(err, stated, unix.Close(dirFd)); err != nil {
			t.Fatal(err)
		}
		modes = append(modes, m.Mode)
	}
	if modes[0] != modes[1] || modes[0]&unix.S_ISGID != 0 {
		t.Errorf("a plain file has mode %o then, one on the mount %o", modes[0], modes[1])
	}
}
