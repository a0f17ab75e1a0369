package survey

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

func isUnsupported(err error) bool { return errors.Is(err, unix.ENOTSUP) }

// destination asks the destination's file system what it has, and tries what it holds.
func (s *survey) destination() error {
	if err := inEachOther(s.Source, s.Destination); err != nil {
		s.findings.add(Cannot, "everything: "+err.Error(), "")
	}
	d := &s.report.Destination
	asked, err := existing(s.Destination)
	if err != nil {
		return err
	}
	d.Asked, d.Exists = asked, asked == filepath.Clean(s.Destination)
	var fs unix.Statfs_t
	if err := unix.Statfs(asked, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: asked, Err: err}
	}
	d.Room = Room{Bytes: fs.Bavail * uint64(fs.Frsize)}
	if fs.Files > 0 {
		d.Room.Inodes = max(fs.Ffree, 1) // 0 is no bound
	}
	d.NameLen = fs.Namelen
	if fs.Type == unix.BTRFS_SUPER_MAGIC {
		s.findings.add(Cannot, "everything: the destination is on btrfs, which does not keep the order that a move builds on: use ext4 or xfs", "")
	}
	if b := fs.Bsize; b < 512 || b > 256<<10 || b&(b-1) != 0 {
		s.findings.add(Cannot, fmt.Sprintf("everything: the destination's file system has blocks of %d bytes: use one with a power of two up to 262144", b), "")
	}
	if !d.Exists {
		d.WhyNot = "it does not exist"
		s.findings.add(Know, "the destination will have to be made: figures are those of "+asked, "")
		return nil
	}
	s.try()
	return nil
}

// existing is what exists of a path.
func existing(path string) (string, error) {
	for path = filepath.Clean(path); ; path = filepath.Dir(path) {
		st, err := os.Stat(path)
		if err == nil && !st.IsDir() {
			return "", &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
		}
		if err == nil || !errors.Is(err, os.ErrNotExist) || path == filepath.Dir(path) {
			return path, err
		}
	}
}

// try makes a temporary folder at the destination, and tries in it what the destination holds.
func (s *survey) try() {
	d := &s.report.Destination
	root, err := tree.Open(s.Destination)
	if err != nil {
		d.WhyNot = err.Error()
		return
	}
	defer root.Close()
	begun, other, err := look(root)
	switch {
	case err != nil:
		d.WhyNot = err.Error()
		return
	case begun:
		s.begun = true
		s.findings.add(Know, "a move to the destination was begun: to start goes on with it", "")
	case other != "":
		d.WhyNot = "it is not empty"
		s.findings.add(Cannot, fmt.Sprintf("everything: the destination is not empty (it has %q): a move begins with an empty directory", other), "")
		return
	}
	in := s.Destination
	if begun {
		in = filepath.Join(in, migration.StateFolder)
	}
	before, err := tree.Stat(root.Fd(), "")
	if err == nil {
		d.Has, err = tryIn(in)
	}
	if err == nil && !begun {
		err = tree.SetTimes(root.Fd(), "", before.Atime, before.Mtime)
	}
	if err != nil {
		d.WhyNot = err.Error()
		return
	}
	d.Tried = true
}

// look says whether a destination has a move's own folder, and a name of what it has beside that.
func look(root *tree.Root) (begun bool, other string, err error) {
	fd, err := root.At("", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, "", err
	}
	defer unix.Close(fd)
	err = tree.List(fd, 0, func(n tree.Name) bool {
		switch {
		case n.Name == migration.StateFolder:
			begun = true
		case n.Dots(), n.Name == "lost+found", migration.Reserved(n.Name):
		default:
			other = n.Name
		}
		return true
	})
	return begun, other, err
}

// What is tried of a destination.
const (
	hasHoles   = "holes"
	hasHandles = "handles"
	hasCase    = "case in names"
	hasForm    = "forms of Unicode in names"
	hasBytes   = "names that are not UTF-8"
	hasWindows = "names that Windows has not"
	hasUser    = "attributes user.*"
	hasTrusted = "attributes trusted.*"
	hasSec     = "attributes security.*"
	hasACL     = "POSIX ACLs"
	hasDevices = "device nodes"
	hasLinks   = "links"
	hasOwners  = "owners"
	hasEarly   = "times before 1970"
	hasLate    = "times after 2038"
	hasNano    = "parts of a second"
)

// tryIn tries what a folder's file system holds. What it made is gone when it returns.
func tryIn(folder string) (has map[string]bool, err error) {
	at, err := os.MkdirTemp(folder, ".usui-fsmove-plan-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(at)) }()
	root, err := tree.Open(at)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd := root.Fd()
	if err := os.WriteFile(filepath.Join(at, "file"), []byte("x"), 0o600); err != nil {
		return nil, err
	}
	made := func(name string) bool { return unix.Mkdirat(fd, name, 0o700) == nil }
	there := func(name string) bool { _, err := tree.Stat(fd, name); return err == nil }
	attribute := func(name string, value []byte) bool { return tree.SetXattr(fd, "file", name, value, 0) == nil }
	return map[string]bool{
		hasHoles:   tryHoles(fd),
		hasHandles: tryHandle(root),
		hasCase:    !there("FILE"),
		hasForm:    made("\u00e9") && !there("e\u0301"),
		hasBytes:   made("\xff"),
		hasWindows: made(`a:*?"<>|\b.`),
		hasUser:    attribute("user.usui", []byte("x")),
		hasTrusted: attribute("trusted.usui", []byte("x")),
		hasSec:     attribute("security.usui", []byte("x")),
		hasACL:     attribute("system.posix_acl_access", someACL),
		hasDevices: unix.Mknodat(fd, "device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil,
		hasLinks:   unix.Linkat(fd, "file", fd, "link", 0) == nil && unix.Symlinkat("file", fd, "symbolic") == nil,
		hasOwners:  unix.Fchownat(fd, "file", 12345, 12345, 0) == nil,
		hasEarly:   tryTime(fd, time.Unix(-1, 0)),
		hasLate:    tryTime(fd, time.Unix(1<<32, 0)),
		hasNano:    tryTime(fd, time.Unix(1, 123_456_789)),
	}, nil
}

// someACL is user::rw-, user:1234:r--, group::r--, mask::r--, other::--- in the form of posix_acl_xattr, version 2 (acl(5)).
var someACL = []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}

// tryTime sets a time and looks whether it was kept.
func tryTime(dir int, want time.Time) bool {
	if tree.SetTimes(dir, "file", want, want) != nil {
		return false
	}
	got, err := tree.Stat(dir, "file")
	return err == nil && got.Mtime.Equal(want)
}

// tryHoles looks whether a file tells of its holes.
func tryHoles(dir int) bool {
	const size = 1 << 20
	fd, err := unix.Openat(dir, "holes", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte{1}, size); err != nil {
		return false
	}
	hole, err1 := unix.Seek(fd, 0, unix.SEEK_HOLE)
	data, err2 := unix.Seek(fd, 0, unix.SEEK_DATA)
	return err1 == nil && err2 == nil && hole == 0 && data > 0
}

// tryHandle looks whether a file can be opened by its handle.
func tryHandle(root *tree.Root) bool {
	h, err := tree.HandleOf(root.Fd(), "file")
	if err != nil {
		return false
	}
	fd, err := root.Open(h, unix.O_RDONLY)
	return err == nil && unix.Close(fd) == nil
}

// compareHas tells of what the destination does not hold of what the source has.
func (s *survey) compareHas() {
	has := s.report.Destination.Has
	if has == nil {
		return
	}
	for _, what := range []string{hasHoles, hasHandles} {
		if !has[what] {
			s.findings.add(Cannot, "everything: the destination has no "+what+": use ext4 or xfs, as root", "")
		}
	}
	if !has[hasOwners] {
		s.findings.add(Cannot, "everything: the destination does not keep owners", "")
	}
	if !has[hasLinks] && s.report.Source.Links+s.report.Source.Linked > 0 {
		s.findings.add(Cannot, "links: the destination has none", "")
	}
	for _, f := range s.findings.all {
		need := map[string]string{
			whatUser: hasUser, whatTrusted: hasTrusted, whatSecurity: hasSec, whatACL: hasACL, whatDevices: hasDevices, whatCase: hasCase, whatForm: hasForm, whatUTF8: hasBytes, whatWindows: hasWindows,
		}[f.What]
		if need != "" && !has[need] {
			f.Class, f.What = Cannot, f.What+", which the destination does not hold"
		}
		if need = map[string]string{whatEarly: hasEarly, whatLate: hasLate}[f.What]; need != "" && !has[need] {
			f.Class, f.What = Differ, f.What+", which the destination does not hold"
		}
	}
	if s.nanoseconds && !has[hasNano] {
		s.findings.add(Differ, "times: the destination does not keep parts of a second", "")
	}
}
