package survey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// Config says what is to be moved.
type Config struct {
	Source, Destination string
	List                int                  // how many paths of each finding are kept; 0 for 1,000
	Workers             int                  // 0 for 8
	Sample              time.Duration        // for which the source is read; 0 for not at all
	Progress            func(entries uint64) // is called every few seconds
}

// progressEvery is how often Progress is called.
const progressEvery = 5 * time.Second

// Run surveys a move. The error is that of ctx, or that the source cannot be opened; all else is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.List == 0 {
		cfg.List = 1000
	}
	if cfg.Workers == 0 {
		cfg.Workers = 8
	}
	src, err := tree.Open(cfg.Source)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	s := &survey{Config: cfg, src: src, findings: findings{most: cfg.List}, linked: map[inode]*names{}}
	s.report.Source.Path, s.report.Destination.Path = cfg.Source, cfg.Destination
	s.kinds()
	if err := s.destination(); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.walk(ctx); err != nil {
		return nil, err
	}
	took := time.Since(began)
	s.outside()
	s.compareRoom()
	s.compareHas()
	s.passthrough()
	if err := s.estimate(ctx, took); err != nil {
		return nil, err
	}
	s.report.Findings = s.findings.sorted()
	return &s.report, nil
}

// kinds looks at the source's file system, and tells what that does not show.
func (s *survey) kinds() {
	const zfs = 0x2fc12fc1 // ZFS_SUPER_MAGIC of OpenZFS
	switch tree.TypeOf(s.src.Fd()) {
	case unix.BTRFS_SUPER_MAGIC, zfs:
		s.report.Source.Compresses = true
	case unix.NFS_SUPER_MAGIC:
		s.findings.add(Differ, "the source is on NFS, which shows no file capabilities and no attributes trusted.* and security.*: what its server has of them will be lost", "")
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		s.findings.add(Differ, "the source is on SMB: owners and permissions are what its mount makes of them, names of one inode become files of their own, and ACLs and streams of its server will be lost", "")
	}
	if _, err := tree.ListXattrs(s.src.Fd(), "", nil); isUnsupported(err) {
		s.findings.add(Differ, "the source's file system shows no attributes and no ACLs: what its server has of them will be lost", "")
	}
	if !tree.KeepsNumbers(s.src.Fd()) {
		s.findings.add(Know, "the source's file system may give inodes other numbers when it is mounted anew: names of one inode may become files of their own, and a file that changes behind the move is known by its size and times alone", "")
	}
}

// outside tells of names that the walk has not met.
func (s *survey) outside() {
	for _, n := range s.linked {
		s.findings.add(Differ, "inodes with further names outside of the tree, which will be other files", n.path)
	}
}

// compareRoom tells of room that the destination has not.
func (s *survey) compareRoom() {
	r := &s.report
	land := r.Source.Allocated
	if r.Source.Compresses {
		land = r.Source.Bytes
		s.findings.add(Know, "the source's file system may compress: the length of files is taken for what they need", "")
	}
	r.Needed = Room{land + land/20, r.Source.Entries - (r.Source.LinkedNames - r.Source.Linked)}
	if s.begun {
		s.findings.add(Know, "some of it may have arrived: whether there is room for the rest was not looked at", "")
		return
	}
	if has := r.Destination.Room; has.Bytes < r.Needed.Bytes {
		s.findings.add(Cannot, fmt.Sprintf("everything: the destination has %s, and %s are needed", size(has.Bytes), size(r.Needed.Bytes)), "")
	}
	if has := r.Destination.Room.Inodes; has != 0 && has < r.Needed.Inodes {
		s.findings.add(Cannot, fmt.Sprintf("everything: the destination has %d inodes, and %d are needed", has, r.Needed.Inodes), "")
	}
}

// passthrough tells what the kernel can do for complete files (FUSE_PASSTHROUGH, Linux 6.9).
func (s *survey) passthrough() {
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		return
	}
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 9 {
		s.findings.add(Know, fmt.Sprintf("Linux %s does not read and write complete files by itself until the move is over (6.9 does): each access costs several times as much", release), "")
		return
	}
	s.findings.add(Know, fmt.Sprintf("Linux %s reads and writes complete files by itself while the move goes on, if it was built so (CONFIG_FUSE_PASSTHROUGH)", release), "")
}

// inEachOther refuses directories that are in each other.
func inEachOther(src, dst string) error {
	for _, path := range []*string{&src, &dst} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = resolve(abs)
	}
	for _, pair := range [][2]string{{src, dst}, {dst, src}} {
		if in, err := filepath.Rel(pair[0], pair[1]); err == nil && filepath.IsLocal(in) {
			return fmt.Errorf("%s is in %s: choose directories that are not in each other", pair[1], pair[0])
		}
	}
	return nil
}

// resolve follows the links of what exists of a path.
func resolve(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(path) != path {
		return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
	}
	if err != nil {
		return path
	}
	return real
}
