package front

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountinfo is what proc_pid_mountinfo(5) describes, in the order of the mounts.
func mountinfo() (all []mounted, err error) {
	p, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return readMountinfo(string(p)), nil
}

// mounted is a mount.
type mounted struct{ id, parent, device, at, kind string }

// readMountinfo reads lines of: ID, parent's ID, device, root, mount point, options, others, "-", type, source, options.
func readMountinfo(table string) (all []mounted) {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(f) >= 6 && len(kind) > 0 {
			all = append(all, mounted{f[0], f[1], f[2], unescape(f[4]), kind[0]})
		}
	}
	return all
}

// under says whether a file system is what is mounted right beneath our mount at a path.
func under(all []mounted, path, device string) bool {
	for _, ours := range all {
		if ours.at != path || ours.kind != FileSystem {
			continue
		}
		for _, m := range all {
			if m.id == ours.parent && m.at == path && m.device == device {
				return true
			}
		}
	}
	return false
}

// top is the mount at a path on which there is no other, zero if there is none.
func top(all []mounted, path string) (found mounted) {
	for _, m := range all {
		covered := slices.ContainsFunc(all, func(o mounted) bool { return o.at == path && o.parent == m.id && o.id != m.id })
		if m.at == path && !covered {
			found = m
		}
	}
	return found
}

// TakeAway takes mounts away from a path that processes have left which nobody kept: whoever uses them gets an error. Others' mounts stay.
func TakeAway(path string, logger *slog.Logger) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for errors.Is(unix.Access(path, unix.F_OK), unix.ENOTCONN) {
		all, err := mountinfo()
		if err != nil {
			return err
		}
		if kind := top(all, path).kind; kind != FileSystem {
			return fmt.Errorf("%s is a mount of type %q that nobody answers for: mount it again", path, kind)
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("%s has a mount that nobody answers for, and it cannot be taken away: %w", path, err)
		}
		logger.Warn("a mount that nobody answered for is taken away", "path", path)
	}
	return nil
}

// unescape reads a path in which spaces, tabs, newlines and backslashes are three octal digits behind a backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
