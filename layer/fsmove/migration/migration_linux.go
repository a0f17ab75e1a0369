package migration

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/pace"
	"usui/layer/fsmove/tree"
)

// StateFolder is the folder at the top of the destination that is the migration's own. Nobody else sees it, and it goes at the end.
const StateFolder = ".usui-fsmove"

// endedFolder is the StateFolder's name once the migration has ended: from then on it can go in parts.
const endedFolder = StateFolder + ".ended"

// Reserved says that a name at the top of the destination is the migration's own.
func Reserved(name string) bool { return name == StateFolder || name == endedFolder }

// Names in the StateFolder.
const (
	journalFolder = "journal"
	linksFolder   = "links" // names that keep inodes whose other names have not been listed
)

// Migration is a tree on its way.
type Migration struct {
	src     *source
	dst     *tree.Root
	journal *journal.Journal
	logger  *slog.Logger
	block   int64 // of the destination: holes begin and end at multiples
	state   int   // descriptor of the StateFolder, which is locked
	links   int   // that of the linksFolder

	gate      sync.RWMutex // held shared while the journal is asked for what a client needs
	finished  bool         // guarded by gate; everything has arrived, and the state is gone
	linking   lock         // held by the one listing that counts names of inodes with several
	mu        sync.Mutex
	files     map[tree.Handle]*File    // guarded by mu; in use
	listings  map[tree.Handle]*listing // guarded by mu; under way
	stats     Stats                    // guarded by mu
	settings  journal.Settings         // guarded by mu
	setting   sync.Mutex               // held while they change
	touched   atomic.Bool              // they say that a client has changed something
	failures  map[tree.Handle]*Failure // guarded by mu
	closed    bool
	pacer     *pace.Pacer
	onArrival func(ino uint64) // may be nil
	hot       hot
	early     early
	hook      func(step string) // called after each step that a crash can come behind; for tests
}

// Config is what a migration is made of.
type Config struct {
	Source, Destination string // directories
	// SourceFd is a descriptor of the source where its path leads elsewhere by now, which stays its caller's. 0: the path does.
	SourceFd int
	// DestinationRoot is likewise, and is the migration's from then on.
	DestinationRoot *tree.Root
	// Timeout is how long clients wait for a source that is away before they get an error, from when it went; 0 is for ever.
	Timeout time.Duration
	Early   int         // in a folder of the source with so many entries one that is looked up comes before the others; 0 is DefaultEarly
	Pacer   *pace.Pacer // of what is done beside clients; nil for one of its own
	Logger  *slog.Logger
}

// New begins a migration, or goes on with the one that was begun in this destination. A new one wants an empty destination.
func New(cfg Config) (_ *Migration, err error) {
	m := &Migration{logger: cfg.Logger, state: -1, links: -1, linking: newLock(), failures: map[tree.Handle]*Failure{}, files: map[tree.Handle]*File{}, listings: map[tree.Handle]*listing{}, pacer: cfg.Pacer, early: early{least: cmp.Or(cfg.Early, DefaultEarly), n: map[tree.Handle]int{}}}
	if m.pacer == nil {
		m.pacer = pace.New()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.dst = cfg.DestinationRoot; m.dst == nil {
		if m.dst, err = tree.Open(cfg.Destination); err != nil {
			return nil, err
		}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(m.dst.Fd(), &fs); err != nil {
		return nil, os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.BTRFS_SUPER_MAGIC { // its fsync of a folder does not have what is in new files, nor its extending of a file a hole as it was
		return nil, fmt.Errorf("%s is on btrfs, which does not keep the order that a migration builds on: use ext4 or xfs", cfg.Destination)
	}
	if m.block = fs.Bsize; m.block < 512 || m.block > fetchBytes || m.block&(m.block-1) != 0 {
		return nil, fmt.Errorf("%s: its file system has blocks of %d bytes: use one with a power of two up to %d", cfg.Destination, m.block, fetchBytes)
	}
	begun, other, err := m.look()
	if err != nil {
		return nil, err
	}
	if !begun && other != "" {
		return nil, fmt.Errorf("%s is not empty (it has %q): a migration begins with an empty directory", cfg.Destination, other)
	}
	if err := m.openState(); err != nil {
		return nil, err
	}
	h, ok, err := m.journal.Header()
	if err == nil {
		m.settings, err = m.journal.Settings()
	}
	m.remember(m.settings)
	m.touched.Store(m.settings.Changed)
	switch {
	case err != nil:
		return nil, err
	case !ok && other != "": // to begin would be to wipe it
		return nil, fmt.Errorf("%s: %w: it does not say what the migration is, and the destination has %q", cfg.Destination, journal.ErrDamaged, other)
	case !ok:
		if err := m.tryDestination(); err != nil {
			return nil, err
		}
		if m.src, err = openSource(cfg, nil); err != nil {
			return nil, err
		}
		return m, m.begin()
	case m.settings.GivenUp:
		return nil, cmp.Or(m.Wipe(), fmt.Errorf("%s: %w", cfg.Destination, ErrGivenUp))
	case h.Source != cfg.Source:
		return nil, fmt.Errorf("%s: its migration is from %s, not from %s", cfg.Destination, h.Source, cfg.Source)
	}
	if m.src, err = openSource(cfg, &h.Root); err != nil {
		return nil, err
	}
	if err := m.dropHidden(); err != nil {
		return nil, err
	}
	if err := m.finishCuts(); err != nil {
		return nil, err
	}
	return m, m.countWaiting()
}

// step tells tests of a step.
func (m *Migration) step(name string) {
	if m.hook != nil {
		m.hook(name)
	}
}

// look says whether the destination has the state of a migration, and a name of what it has beside that. A migration that had ended, and was killed before it was gone, is an error.
func (m *Migration) look() (begun bool, other string, err error) {
	ended := false
	fd, err := m.dst.At("", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, "", err
	}
	defer unix.Close(fd)
	err = tree.List(fd, 0, func(n tree.Name) bool {
		switch {
		case n.Name == StateFolder:
			begun = true
		case n.Name == endedFolder:
			ended = true
		case n.Dots(), spared(n.Name):
		default:
			other = n.Name
		}
		return true
	})
	if err == nil && ended && !begun {
		err = cmp.Or(m.removeEnded(), fmt.Errorf("%s: %w", m.dst.Path(), ErrEnded))
	}
	return begun, other, err
}

// ErrEnded is the error of New for a destination where everything had arrived, and the process was killed before the last of its state was gone. It is gone now.
var ErrEnded = errors.New("everything had arrived, and what was left of the migration is removed now")

// openState opens the journal, and makes what is not there yet.
func (m *Migration) openState() error {
	if err := unix.Mkdirat(m.dst.Fd(), StateFolder, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: m.dst.Path() + "/" + StateFolder, Err: err}
	}
	var err error
	if m.state, err = m.dst.At(StateFolder, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return err
	}
	if err := unix.Flock(m.state, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: another process is at this migration: %w", m.dst.Path(), os.NewSyscallError("flock", err))
	}
	if err := unix.Mkdirat(m.state, linksFolder, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: linksFolder, Err: err}
	}
	if m.links, err = unix.Openat(m.state, linksFolder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: linksFolder, Err: err}
	}
	// Pebble takes a path. It is ours alone, and this one leads there whatever the names above it are.
	m.journal, err = journal.Open(fmt.Sprintf("/proc/self/fd/%d/%s/%s", m.dst.Fd(), StateFolder, journalFolder), m.logger)
	return err
}

// tryDestination makes sure of what a migration builds on.
func (m *Migration) tryDestination() error {
	fd, err := unix.Openat(m.links, "trial", unix.O_CREAT|unix.O_RDWR|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: "trial", Err: err}
	}
	defer unix.Close(fd)
	defer unix.Unlinkat(m.links, "trial", 0) // what is left of it is wiped by the next listing of links
	if err := m.tryHoles(fd); err != nil {
		return err
	}
	h, err := tree.HandleOf(fd, "")
	if err != nil {
		return fmt.Errorf("%s: its file system has no handles: %w: use ext4 or xfs", m.dst.Path(), err)
	}
	again, err := m.dst.Open(h, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("%s: a file cannot be opened by its handle: %w: that takes root (CAP_DAC_READ_SEARCH)", m.dst.Path(), err)
	}
	return os.NewSyscallError("close", unix.Close(again))
}

// tryHoles makes sure that an empty file has a hole wherever nothing was written, also where it was read: what is not data is fetched, and nothing else is.
func (m *Migration) tryHoles(fd int) error {
	size := 16 * m.block
	if err := unix.Ftruncate(fd, size); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	if _, err := unix.Pwrite(fd, []byte{1}, size/2); err != nil {
		return os.NewSyscallError("pwrite64", err)
	}
	for off := int64(0); off < size; off += m.block { // zeros in memory, over room that is reserved, are told of as data
		if _, err := unix.Pread(fd, make([]byte, m.block), off); err != nil {
			return os.NewSyscallError("pread64", err)
		}
	}
	data, err1 := unix.Seek(fd, 0, unix.SEEK_DATA)
	hole, err2 := unix.Seek(fd, size/2, unix.SEEK_HOLE)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%s: its file system does not tell of holes: %w: use ext4 or xfs", m.dst.Path(), err)
	}
	if data != size/2 || hole != data+m.block {
		return fmt.Errorf("%s: its file system tells of %d bytes at %d as data where %d at %d were written: use ext4, or xfs where folders have no extent size hint", m.dst.Path(), hole-data, data, m.block, size/2)
	}
	return nil
}

// begin makes the top of the destination that of the source, to be listed.
func (m *Migration) begin() error {
	meta, err := tree.Read(m.src.root.Fd(), "")
	if err != nil {
		return err
	}
	c := m.journal.Change()
	err = tree.SetMost(m.dst.Fd(), "", &meta, func(_ string, err error) error {
		if m.attributeRefused(err) {
			c.AddLoss(journal.Loss{What: err.Error()})
			return nil
		}
		return err
	})
	var h tree.Handle
	if err == nil {
		h, err = tree.HandleOf(m.dst.Fd(), "")
	}
	if err != nil {
		c.Drop()
		return err
	}
	c.SetHeader(journal.Header{Source: m.src.path, Root: m.src.known})
	c.SetFolder(h, journal.Folder{Ino: meta.Ino})
	m.count(func(s *Stats) { s.Waiting.Folders++ })
	return c.Apply()
}

// Destination is the tree that the migration makes.
func (m *Migration) Destination() *tree.Root { return m.dst }

// Close ends the process's part in it; New goes on. A second Close does nothing. No File is in use any more.
func (m *Migration) Close() error {
	if m.closed {
		return nil
	}
	m.closed = true
	err := m.closeState()
	if m.dst != nil {
		err = errors.Join(err, m.dst.Close())
	}
	if m.src != nil {
		m.src.close()
	}
	return err
}

// closeState closes what is in the StateFolder.
func (m *Migration) closeState() error {
	var err error
	if m.journal != nil {
		err, m.journal = m.journal.Close(), nil
	}
	for _, fd := range []*int{&m.links, &m.state} {
		if *fd >= 0 {
			err = errors.Join(err, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return err
}
