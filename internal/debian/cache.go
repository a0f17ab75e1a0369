package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"usui/internal/initrd"
)

// Config says where a Cache is and where it tells about long work.
type Config struct {
	Dir      string    // the cache folder; see [Dir]
	Progress io.Writer // one line for each download and each unpacking; nil: none
	Refresh  bool      // look for newer versions of what is in the cache
}

// Cache finds unpacked packages, and fetches the ones that are not there. Its methods may be called from several goroutines and
// processes at once.
type Cache struct {
	dir      string
	progress io.Writer
	refresh  bool
}

// Package is an unpacked package.
type Package struct {
	ID  string // PACKAGE_VERSION, as in the name of the .deb file
	Dir string // the folder with its files, to be read only
}

// Dir is usui's cache folder: $XDG_CACHE_HOME/usui, or ~/.cache/usui. It need not exist.
func Dir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(base, "usui"), nil
}

// Open returns the cache in cfg.Dir. It touches nothing.
func Open(cfg Config) *Cache {
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	return &Cache{dir: cfg.Dir, progress: cfg.Progress, refresh: cfg.Refresh}
}

// Get returns the package that name stands for, from the cache or, if it is not there, the newest one from the archive.
// A kernel's metapackage such as linux-image-cloud-amd64 stands for the kernel package that it depends on. arch is a Debian
// architecture such as amd64.
func (c *Cache) Get(ctx context.Context, name, arch string) (Package, error) {
	if p, ok := c.find(name, arch); ok && !c.refresh {
		return p, nil
	}
	return c.fetch(ctx, name, arch)
}

func (c *Cache) archDir(arch string) string { return filepath.Join(c.dir, "debian", arch) }

// find follows the link that stands for name.
func (c *Cache) find(name, arch string) (Package, bool) {
	id, err := os.Readlink(filepath.Join(c.archDir(arch), name))
	if err != nil || id != filepath.Base(id) {
		return Package{}, false
	}
	p := Package{ID: id, Dir: filepath.Join(c.archDir(arch), id)}
	info, err := os.Stat(p.Dir)
	return p, err == nil && info.IsDir()
}

// fetch gets the newest package of a name into the cache.
func (c *Cache) fetch(ctx context.Context, name, arch string) (_ Package, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetch debian package %s for %s: %w", name, arch, err)
		}
	}()
	dir := c.archDir(arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Package{}, readOnlyHint(err)
	}
	unlock, err := c.lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return Package{}, readOnlyHint(err)
	}
	defer unlock()
	// Whoever held the lock may have fetched the same package.
	if p, ok := c.find(name, arch); ok && !c.refresh {
		return p, nil
	}
	if err := removeAll(filepath.Join(dir, "partial-*")); err != nil {
		return Package{}, err
	}
	a := apt{arch: arch, dir: filepath.Join(c.dir, "apt", arch)}
	if err := a.update(ctx, c.progress); err != nil {
		return Package{}, err
	}
	newest, err := a.resolve(ctx, name)
	if err != nil {
		a.forget() // the index may be none because there was no network
		return Package{}, err
	}
	return c.install(ctx, a, name, newest)
}

// install unpacks the candidate, unless that version is there already, and lets name stand for it.
func (c *Cache) install(ctx context.Context, a apt, name string, newest candidate) (Package, error) {
	dir := c.archDir(a.arch)
	p := Package{ID: newest.id(), Dir: filepath.Join(dir, newest.id())}
	if _, err := os.Stat(p.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := c.unpack(ctx, a, newest, p.Dir); err != nil {
			return Package{}, err
		}
	}
	link := filepath.Join(dir, "partial-link")
	if err := os.Symlink(p.ID, link); err != nil {
		return Package{}, err
	}
	if err := os.Rename(link, filepath.Join(dir, name)); err != nil {
		return Package{}, err
	}
	return p, c.prune(a.arch)
}

// unpack downloads a package and unpacks it into the folder final, which appears only when it is complete.
func (c *Cache) unpack(ctx context.Context, a apt, newest candidate, final string) error {
	work, err := os.MkdirTemp(c.archDir(a.arch), "partial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fmt.Fprintf(c.progress, "usui: download %s %s (%.1f MB)\n", newest.name, newest.version, float64(newest.size)/1e6)
	deb, err := a.download(ctx, newest, work)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.progress, "usui: unpack %s\n", newest.name)
	root := filepath.Join(work, "root")
	if _, err := run(ctx, work, "dpkg-deb", "-x", deb, root); err != nil {
		return err
	}
	if err := indexModules(ctx, root); err != nil {
		return err
	}
	return os.Rename(root, final)
}

// indexModules lets depmod write the module index of each kernel in a package, so that a read-only cache has it.
func indexModules(ctx context.Context, root string) error {
	// Since the merge of /usr the packages hold usr/lib/modules, but tools look for lib/modules.
	if _, err := os.Stat(filepath.Join(root, "usr/lib/modules")); err == nil {
		if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	releases, err := filepath.Glob(filepath.Join(root, "lib/modules/*"))
	if err != nil {
		return err
	}
	for _, release := range releases {
		if err := initrd.Depmod(ctx, root, filepath.Base(release)); err != nil {
			return err
		}
	}
	return nil
}

// prune removes the packages that no name stands for any more.
func (c *Cache) prune(arch string) error {
	dir := c.archDir(arch)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			used[target] = true
		}
	}
	for _, e := range entries {
		if e.IsDir() && !used[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeAll(pattern string) error {
	stale, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, path := range stale {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// readOnlyHint says what to do when the cache cannot be written.
func readOnlyHint(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("it is not in the cache and the cache cannot be written (set XDG_CACHE_HOME to a folder that can): %w", err)
	}
	return err
}
