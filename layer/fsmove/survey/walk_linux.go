package survey

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// survey is one that is under way.
type survey struct {
	Config
	src      *tree.Root
	findings findings
	seen     atomic.Uint64     // entries
	folders  *tree.Queue[todo] // to be walked

	mu          sync.Mutex
	linked      map[inode]*names // guarded by mu; inodes with names that were not met yet
	begun       bool             // there is a move to the destination
	nanoseconds bool             // guarded by mu until the walk is over; there are parts of a second in times
	report      Report           // guarded by mu until the walk is over
	sample      []string         // guarded by mu until then; files with content, any of them as likely as another
	longest     file             // guarded by mu until then
	rest        uint64           // guarded by mu until then; bytes behind the first pieces of files
}

// file is one with so many bytes of data.
type file struct {
	path string
	data int64
}

// todo is a folder that is to be walked.
type todo struct {
	path  string
	dev   tree.Device
	depth int
}

// inode is one of the source.
type inode struct {
	dev tree.Device
	ino uint64
}

// names are those of an inode.
type names struct {
	path string // the first
	left uint32 // that were not met
}

// walk walks the source.
func (s *survey) walk(ctx context.Context) error {
	top, err := tree.Stat(s.src.Fd(), "")
	if err != nil {
		return err
	}
	s.report.Source.Entries, s.report.Source.Folders = 1, 1
	s.folders = tree.NewQueue(todo{"", top.Dev, 0})
	defer s.tell()()
	var all sync.WaitGroup
	for range s.Workers {
		all.Go(func() { s.work(ctx) }) // until everything was walked, or ctx ends
	}
	all.Wait()
	return ctx.Err()
}

// tell tells of the progress until the function that it returns is called.
func (s *survey) tell() (stop func()) {
	if s.Progress == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // until stop
		defer close(ended)
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.Progress(s.seen.Load())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// work walks folders until there is none left.
func (s *survey) work(ctx context.Context) {
	w := &walker{s: s, names: newFolder()}
	s.folders.Work(ctx, func(f todo) { w.folder(ctx, f) })
}

// walker is one worker.
type walker struct {
	s      *survey
	names  *folder
	xattrs [64 << 10]byte // as many as an entry may have (xattr(7))
}

// folder looks at all entries of a folder, while it reads their names.
func (w *walker) folder(ctx context.Context, f todo) {
	w.names.begin()
	fd, err := w.s.src.At(f.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME)
	if err != nil {
		w.unreadable(shown(f.path), err)
		return
	}
	defer unix.Close(fd)
	entries := 0
	err = tree.List(fd, 0, func(n tree.Name) bool {
		if n.Dots() {
			return true
		}
		path := n.Name
		if f.path != "" {
			path = f.path + "/" + n.Name
		}
		if f.path == "" && (migration.Reserved(n.Name) || n.Name == "lost+found") {
			w.s.findings.add(Differ, "names at the top that are left out", path)
			return true
		}
		entries++
		w.entry(fd, f, path, n.Name)
		return ctx.Err() == nil
	})
	if err != nil {
		w.unreadable(shown(f.path), err)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if src := &w.s.report.Source; entries > src.Largest.Count {
		src.Largest = Place{shown(f.path), entries}
	}
}

// shown is a path for a person: the top's is a point.
func shown(path string) string {
	if path == "" {
		return "."
	}
	return path
}

// unreadable tells of what cannot be read, by its cause.
func (w *walker) unreadable(path string, err error) { w.s.unreadable(path, err) }

func (s *survey) unreadable(path string, err error) {
	var errno unix.Errno
	why := err.Error()
	if errors.As(err, &errno) {
		why = errno.Error()
	}
	s.findings.add(Cannot, "entries that cannot be read: "+why, path)
}

// sampleMost is how many files may be read to see how quick the source is.
const sampleMost = 256

// count counts an entry, and says whether it is the first name of its inode.
func (s *survey) count(path string, depth int, m *tree.Meta) (first bool) {
	s.seen.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	src := &s.report.Source
	src.Entries++
	if depth > src.Deepest.Count {
		src.Deepest = Place{path, depth}
	}
	if m.Links > 1 && m.Type() != unix.S_IFDIR && !s.link(path, m) {
		return false
	}
	switch m.Type() {
	case unix.S_IFDIR:
		src.Folders++
	case unix.S_IFLNK:
		src.Links++
	case unix.S_IFREG:
		src.Files++
		s.countFile(path, m)
	default:
		src.Specials++
	}
	src.Allocated += uint64(m.Blocks) * 512
	return true
}

// countFile counts a regular file. s.mu is held.
func (s *survey) countFile(path string, m *tree.Meta) {
	src := &s.report.Source
	src.Bytes += uint64(m.Size)
	if m.Blocks*512+4096 <= m.Size {
		src.Sparse++
	}
	data := m.Size
	if !src.Compresses {
		data = min(data, m.Blocks*512)
	}
	s.rest += uint64(max(0, data-pieceBytes))
	if m.Size > 0 && data >= s.longest.data {
		s.longest = file{path, data}
	}
	switch {
	case m.Size == 0:
	case len(s.sample) < sampleMost:
		s.sample = append(s.sample, path)
	default:
		if i := rand.Uint64N(src.Files); i < sampleMost {
			s.sample[i] = path
		}
	}
}

// link meets a name of an inode with several, and says whether it is the first. s.mu is held.
func (s *survey) link(path string, m *tree.Meta) bool {
	i := inode{m.Dev, m.Ino}
	s.report.Source.LinkedNames++
	n := s.linked[i]
	if n == nil {
		s.report.Source.Linked++
		s.linked[i] = &names{strings.Clone(path), m.Links - 1}
		return true
	}
	if n.left--; n.left == 0 {
		delete(s.linked, i)
	}
	return false
}
