package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// top compares the folders that the trees begin with.
func (c *comparison) top() {
	s, err1 := tree.Read(c.src.Fd(), "")
	d, err2 := tree.Read(c.dst.Fd(), "")
	c.report.Entries++
	if err := errors.Join(err1, err2); err != nil {
		c.found(&c.report.Failed, "", err.Error())
		return
	}
	c.metadata(pair{c.src.Fd(), c.dst.Fd()}, "", &s, &d)
}

// entry compares an entry of a folder.
func (c *comparison) entry(ctx context.Context, p pair, path, name string) {
	c.mu.Lock()
	c.report.Entries++
	c.mu.Unlock()
	s, err := tree.Read(p.src, name)
	unread := errors.As(err, new(*tree.XattrError)) && c.Lost(path) // which is told already
	if err != nil && !unread {
		c.lost(path, &sideError{"source", err})
		return
	}
	d, err := tree.Read(p.dst, name)
	if errors.Is(err, unix.ENOENT) {
		c.missing(p, path)
		return
	}
	if err != nil {
		c.lost(path, &sideError{"destination", err})
		return
	}
	if unread {
		d.Xattrs = nil
	}
	if s.Type() == unix.S_IFDIR && d.Type() == unix.S_IFDIR {
		c.folders.Add(path)
	}
	if fine := c.metadata(p, path, &s, &d); fine != nil {
		select {
		case c.contents <- content{path, &s, &d, *fine}:
		case <-ctx.Done():
		}
	}
}

// missing is an entry that the destination has not.
func (c *comparison) missing(p pair, path string) {
	if c.Lost(path) {
		c.found(&c.report.Lost, path, "")
		return
	}
	c.unless(p, path, &c.report.Gone, "", "it is missing")
}

// unless counts an entry as damaged if no client has changed a name in its folder: that gives the folder another time.
func (c *comparison) unless(p pair, path string, class *Class, said, damage string) {
	s, err1 := tree.Stat(p.src, "")
	d, err2 := tree.Stat(p.dst, "")
	switch err := errors.Join(err1, err2); {
	case err != nil:
		c.found(&c.report.Failed, path, err.Error())
	case sameTime(&s, &d):
		c.found(&c.report.Damaged, path, damage+", and its folder was not changed")
	default:
		c.found(class, path, said)
	}
}

// sameTime says that a destination's entry has the time of modification of the source's, or as much of that as a file system keeps that has whole seconds.
func sameTime(s, d *tree.Meta) bool {
	return s.Mtime.Equal(d.Mtime) || d.Mtime.Nanosecond() == 0 && s.Mtime.Unix() == d.Mtime.Unix()
}

// metadata compares all but content. It returns what is to be said of a file whose content is to be compared, too: nothing, or that other metadata differs; else nil.
func (c *comparison) metadata(p pair, path string, s, d *tree.Meta) *string {
	if s.Type() != d.Type() {
		c.unless(p, path, &c.report.Changed, "it is of another type", "it is of another type")
		return nil
	}
	if !sameTime(s, d) {
		c.found(&c.report.Changed, path, fmt.Sprintf("modified %s, and %s at the source", d.Mtime.UTC().Format("2006-01-02T15:04:05.000000000Z"), s.Mtime.UTC().Format("2006-01-02T15:04:05.000000000Z")))
		return nil
	}
	if what := broken(s, d); what != "" {
		c.unless(p, path, &c.report.Changed, what+", as something else that was given its name", what)
		return nil
	}
	what := differences(s, d)
	first := true
	if s.Links > 1 && s.Type() != unix.S_IFDIR {
		var lost bool
		if first, lost = c.link(s, d); lost {
			what = append(what, "it is another file than other names of the source's inode")
		}
	}
	said := strings.Join(what, ", ")
	if s.Type() == unix.S_IFREG && s.Size > 0 && first && !c.Quick {
		return &said
	}
	c.fine(path, said)
	return nil
}

// fine counts an entry with the right content, of which something is to be said, perhaps.
func (c *comparison) fine(path, said string) {
	if said == "" {
		c.same()
	} else {
		c.found(&c.report.Metadata, path, said)
	}
}

// link remembers which inode of the destination is which of the source, and says whether this is the first name of the two, and whether another name led to another.
func (c *comparison) link(s, d *tree.Meta) (first, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, to := inode{s.Dev, s.Ino}, inode{d.Dev, d.Ino}
	was, known := c.links[from]
	if !known {
		c.links[from] = to
	}
	return !known || was != to, known && was != to
}

// broken says what nobody can have done who left the time of modification as it was, "" for nothing.
func broken(s, d *tree.Meta) string {
	switch {
	case s.Type() == unix.S_IFREG && s.Size != d.Size:
		return fmt.Sprintf("it has %d bytes, and %d at the source", d.Size, s.Size)
	case s.Target != d.Target:
		return fmt.Sprintf("it leads to %q, and to %q at the source", d.Target, s.Target)
	case s.Rdev != d.Rdev && (s.Type() == unix.S_IFCHR || s.Type() == unix.S_IFBLK):
		return fmt.Sprintf("it is device %d:%d, and %d:%d at the source", d.Rdev.Major, d.Rdev.Minor, s.Rdev.Major, s.Rdev.Minor)
	}
	return ""
}

// differences are those of metadata that a client can set.
func differences(s, d *tree.Meta) (all []string) {
	if s.Mode != d.Mode {
		all = append(all, fmt.Sprintf("mode %#o, and %#o at the source", d.Mode&^unix.S_IFMT, s.Mode&^unix.S_IFMT))
	}
	if s.UID != d.UID || s.GID != d.GID {
		all = append(all, fmt.Sprintf("owner %d:%d, and %d:%d at the source", d.UID, d.GID, s.UID, s.GID))
	}
	if s.Type() != unix.S_IFDIR && d.Links > s.Links {
		all = append(all, fmt.Sprintf("%d names, and %d at the source", d.Links, s.Links))
	}
	for _, x := range s.Xattrs {
		i := slices.IndexFunc(d.Xattrs, func(y tree.Xattr) bool { return x.Name == y.Name })
		switch {
		case i < 0:
			all = append(all, fmt.Sprintf("no attribute %q", x.Name))
		case !bytes.Equal(x.Value, d.Xattrs[i].Value):
			all = append(all, fmt.Sprintf("attribute %q has another value", x.Name))
		}
	}
	for _, x := range d.Xattrs {
		if !slices.ContainsFunc(s.Xattrs, func(y tree.Xattr) bool { return x.Name == y.Name }) {
			all = append(all, fmt.Sprintf("attribute %q beside those of the source", x.Name))
		}
	}
	return all
}
