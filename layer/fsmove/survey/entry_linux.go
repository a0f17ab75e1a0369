package survey

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// entry looks at an entry of a folder.
func (w *walker) entry(dir int, f todo, path, name string) {
	w.name(path, name)
	m, err := tree.Stat(dir, name)
	if err != nil {
		w.unreadable(path, err)
		return
	}
	first := w.s.count(path, f.depth+1, &m)
	switch m.Type() {
	case unix.S_IFDIR:
		w.subfolder(f, path, &m)
	case unix.S_IFREG:
		if err := unix.Faccessat(dir, name, unix.R_OK, 0); err != nil && first {
			w.unreadable(path, err)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		w.s.findings.add(Know, whatDevices, path)
	}
	if !first {
		return
	}
	if m.Type() != unix.S_IFDIR && m.Type() != unix.S_IFLNK && m.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		w.s.findings.add(Know, "files with set-user-ID or set-group-ID, whose reads and writes go through the mount until the move is over", path)
	}
	w.times(path, &m)
	w.attributes(dir, path, name)
}

// subfolder has a folder walked.
func (w *walker) subfolder(f todo, path string, m *tree.Meta) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if m.Dev != f.dev {
		w.s.report.Source.Mounts = append(w.s.report.Source.Mounts, path)
		w.s.findings.add(Differ, "mount points: what is mounted there is moved, too, and becomes a part of the one file system", path)
	}
	w.s.folders.Add(todo{path, m.Dev, f.depth + 1})
}

// What a destination has to have for what the source has.
const (
	whatUser     = "entries with attributes user.*"
	whatTrusted  = "entries with attributes trusted.*"
	whatSecurity = "entries with attributes security.*"
	whatACL      = "entries with POSIX ACLs"
	whatDevices  = "device nodes"
	whatEarly    = "times of modification before 1970"
	whatLate     = "times of modification after 2038"
	whatNano     = "times of modification with parts of a second"
	whatCase     = "names that are one where case does not count"
	whatForm     = "names that are one where the form of Unicode does not count (NFC, NFD)"
	whatUTF8     = "names that are not UTF-8"
	whatWindows  = "names that cannot be used from Windows or over SMB"
)

// name looks at a name.
func (w *walker) name(path, name string) {
	if with, form := w.names.collision(name); with != "" {
		what := whatCase
		if form {
			what = whatForm
		}
		w.s.findings.add(Know, what, path)
	}
	if illegal(name) != "" {
		w.s.findings.add(Know, whatWindows, path)
	}
	if !utf8.ValidString(name) {
		w.s.findings.add(Know, whatUTF8, path)
	}
	if most := w.s.report.Destination.NameLen; most > 0 && int64(len(name)) > most {
		w.s.findings.add(Cannot, fmt.Sprintf("names of more than %d bytes, which is all that the destination holds", most), path)
	}
}

// times looks at when an entry was modified.
func (w *walker) times(path string, m *tree.Meta) {
	switch sec := m.Mtime.Unix(); {
	case sec < 0:
		w.s.findings.add(Know, whatEarly, path)
	case sec > math.MaxInt32:
		w.s.findings.add(Know, whatLate, path)
	}
	if m.Mtime.Nanosecond() != 0 {
		w.s.mu.Lock()
		w.s.nanoseconds = true
		w.s.mu.Unlock()
	}
}

// attributes looks at the names of an entry's attributes.
func (w *walker) attributes(dir int, path, name string) {
	n, err := tree.ListXattrs(dir, name, w.xattrs[:])
	if err != nil {
		if !isUnsupported(err) {
			w.unreadable(path, err)
		}
		return
	}
	kinds := map[string]string{}
	for x := range bytes.SplitSeq(bytes.TrimSuffix(w.xattrs[:n], []byte{0}), []byte{0}) {
		if class, what := kind(string(x)); what != "" {
			kinds[what] = class
		}
	}
	for what, class := range kinds {
		w.s.findings.add(class, what, path)
	}
}

// kind is what an attribute means for a move.
func kind(name string) (class, what string) {
	switch {
	case name == "":
		return "", ""
	case name == "security.capability":
		return Know, "files with capabilities, whose reads and writes go through the mount until the move is over"
	case strings.HasPrefix(name, "user."):
		return Know, whatUser
	case strings.HasPrefix(name, "trusted."):
		return Know, whatTrusted
	case strings.HasPrefix(name, "security."):
		return Know, whatSecurity
	case strings.HasPrefix(name, "system.posix_acl_"):
		return Know, whatACL
	case strings.HasPrefix(name, "system.nfs4_"):
		return Differ, "entries with NFSv4 ACLs, which will be lost: permissions will be those of the mode"
	}
	return Differ, "entries with attributes of their file system, which will be lost: " + prefix(name)
}

// prefix is what an attribute's name begins with.
func prefix(name string) string {
	before, _, _ := strings.Cut(name, ".")
	return before + ".*"
}
