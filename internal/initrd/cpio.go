package initrd

import (
	"fmt"
	"io"
	"math"
	"path"
	"strings"
)

// File types of an entry's mode, as in stat(2).
const (
	modeDirectory = 0o040000
	modeCharacter = 0o020000
	modeRegular   = 0o100000
	modeSymlink   = 0o120000
)

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

// Writer writes a cpio archive in the newc format, the one that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// Names are relative to the root, without a slash at the front. Parents are made as needed. The first error sticks: the calls
// that follow do nothing, and Close returns it.
type Writer struct {
	out     io.Writer
	err     error
	written int64
	inode   uint32
	dirs    map[string]bool
	modules map[string]bool // that are in it, by name
}

// NewWriter returns a Writer that writes to out. Wrap out in a buffer: a Writer writes each entry in small pieces.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, dirs: map[string]bool{".": true}, modules: map[string]bool{}}
}

// Dir adds a directory with the permission bits perm, unless it is there already.
func (w *Writer) Dir(name string, perm uint32) {
	name = clean(name)
	if w.dirs[name] {
		return
	}
	w.parents(name)
	w.dirs[name] = true
	w.entry(name, modeDirectory|perm, 0, 0, nil)
}

// File adds a regular file with the permission bits perm.
func (w *Writer) File(name string, perm uint32, content []byte) {
	name = clean(name)
	w.parents(name)
	w.entry(name, modeRegular|perm, 0, 0, content)
}

// Symlink adds a symbolic link that points to target.
func (w *Writer) Symlink(name, target string) {
	name = clean(name)
	w.parents(name)
	w.entry(name, modeSymlink|0o777, 0, 0, []byte(target))
}

// Char adds a character device.
func (w *Writer) Char(name string, perm, major, minor uint32) {
	name = clean(name)
	w.parents(name)
	w.entry(name, modeCharacter|perm, major, minor, nil)
}

// Close writes the end of the archive. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.inode = 0
	w.entry(trailer, 0, 0, 0, nil)
	return w.err
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (w *Writer) parents(name string) {
	if dir := path.Dir(name); !w.dirs[dir] {
		w.Dir(dir, 0o755)
	}
}

// entry writes one header, name and content, each padded to four bytes.
func (w *Writer) entry(name string, mode, major, minor uint32, content []byte) {
	if w.err != nil {
		return
	}
	if int64(len(content)) > math.MaxUint32 {
		w.err = fmt.Errorf("add %s to a cpio archive: %d bytes do not fit the newc format", name, len(content))
		return
	}
	links := 1
	if mode&modeDirectory != 0 && mode&modeRegular != modeRegular {
		links = 2
	}
	if name != trailer {
		w.inode++
	}
	// Fields: ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", w.inode, mode, 0, 0, links, 0,
		len(content), 0, 0, major, minor, len(name)+1, 0)
	w.write([]byte(header + name + "\x00"))
	w.pad()
	w.write(content)
	w.pad()
}

func (w *Writer) write(p []byte) {
	if w.err == nil && len(p) > 0 {
		var n int
		n, w.err = w.out.Write(p)
		w.written += int64(n)
	}
}

func (w *Writer) pad() { w.write(make([]byte, -w.written&3)) }
