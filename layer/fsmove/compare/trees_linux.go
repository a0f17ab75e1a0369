package compare

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/tree"
)

// Options say how trees are compared. The zero value compares everything.
type Options struct {
	Skip     func(path string) bool                       // is no part of the trees
	Lost     func(path string) bool                       // is known not to have arrived, or in part: that it is not there is no damage
	Quick    bool                                         // content is not read
	Workers  int                                          // 0 for 4 that list and 4 that read
	List     int                                          // how many entries of each class are listed; 0 for 10,000
	Progress func(Report)                                 // is told of what was found so far, without lists, every few seconds
	Pace     func(ctx context.Context, bytes int64) error // is asked before content is read; may be nil
}

// progressEvery is how often Progress is called.
const progressEvery = 5 * time.Second

// Trees compares a source with a destination. The error is that of ctx, or that nothing could be compared; what could not be read is in the report.
func Trees(ctx context.Context, src, dst *tree.Root, o Options) (Report, error) {
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.List == 0 {
		o.List = 10_000
	}
	if o.Skip == nil {
		o.Skip = func(string) bool { return false }
	}
	if o.Lost == nil {
		o.Lost = func(string) bool { return false }
	}
	if o.Pace == nil {
		o.Pace = func(context.Context, int64) error { return nil }
	}
	if err := unix.Syncfs(dst.Fd()); err != nil { // so that all that is cached can be dropped
		return Report{}, os.NewSyscallError("syncfs", err)
	}
	c := &comparison{src: src, dst: dst, Options: o, links: map[inode]inode{}, report: Report{Quick: o.Quick}, contents: make(chan content, 4*o.Workers)}
	c.top()
	c.folders = tree.NewQueue("")
	defer c.tell()()
	var listers, readers sync.WaitGroup
	for range o.Workers {
		listers.Go(func() { c.folders.Work(ctx, func(path string) { c.folder(ctx, path) }) }) // until all folders are compared, or ctx ends
		readers.Go(func() { c.read(ctx) })                                                    // until listers have ended
	}
	listers.Wait()
	close(c.contents)
	readers.Wait()
	return c.report, ctx.Err()
}

// comparison is one that is under way.
type comparison struct {
	Options
	src, dst *tree.Root
	contents chan content
	folders  *tree.Queue[string] // to be compared

	mu     sync.Mutex
	links  map[inode]inode // guarded by mu; of the source with several names, to those of the destination
	report Report          // guarded by mu
}

// inode is one of a tree.
type inode struct {
	dev tree.Device
	ino uint64
}

// tell tells of the progress until the function that it returns is called.
func (c *comparison) tell() (stop func()) {
	if c.Progress == nil {
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
				c.mu.Lock()
				r := c.report
				c.mu.Unlock()
				for _, class := range r.classes() {
					class.List = nil
				}
				c.Progress(r)
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (r *Report) classes() []*Class {
	return []*Class{&r.Changed, &r.Metadata, &r.Gone, &r.New, &r.Lost, &r.Damaged, &r.SourceChanged, &r.Failed}
}

// found counts something.
func (c *comparison) found(class *Class, path, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	class.add(c.List, path, what)
}

func (c *comparison) same() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Same++
}

// pair is a folder on both sides.
type pair struct{ src, dst int }

func (p pair) close() {
	for _, fd := range []int{p.src, p.dst} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written
		}
	}
}

// both opens something on both sides. The error says which side it is of.
func (c *comparison) both(path string, flags int) (p pair, err error) {
	p = pair{-1, -1}
	if p.src, err = c.src.At(path, flags|unix.O_NOATIME); err != nil {
		return p, &sideError{"source", err}
	}
	if p.dst, err = c.dst.At(path, flags|unix.O_NOATIME); err != nil {
		return p, &sideError{"destination", err}
	}
	return p, nil
}

type sideError struct {
	side string
	err  error
}

func (e *sideError) Error() string { return "at the " + e.side + ": " + e.err.Error() }

func (e *sideError) Unwrap() error { return e.err }

// folder compares all entries of a folder.
func (c *comparison) folder(ctx context.Context, path string) {
	p, err := c.both(path, unix.O_RDONLY|unix.O_DIRECTORY)
	defer p.close()
	if err != nil {
		c.lost(path, err)
		return
	}
	names, err := namesOf(p.src)
	if err != nil {
		c.lost(path, &sideError{"source", err})
		return
	}
	there, err := namesOf(p.dst)
	if err != nil {
		c.lost(path, &sideError{"destination", err})
		return
	}
	for name := range names {
		if ctx.Err() != nil {
			return
		}
		delete(there, name)
		if full := join(path, name); !c.Skip(full) {
			c.entry(ctx, p, full, name)
		}
	}
	for name := range there {
		if full := join(path, name); !c.Skip(full) {
			c.found(&c.report.New, full, "")
		}
	}
}

// lost is something that could not be opened or read: a client may have taken it from the destination meanwhile.
func (c *comparison) lost(path string, err error) {
	var side *sideError
	destination := errors.As(err, &side) && side.side == "destination"
	gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
	switch {
	case gone && destination:
		c.found(&c.report.Changed, path, "taken away while it was compared")
	case gone:
		c.found(&c.report.SourceChanged, path, "taken away from the source while it was compared")
	case c.Lost(path) && !destination:
		c.found(&c.report.Lost, path, err.Error())
	default:
		c.found(&c.report.Failed, path, err.Error())
	}
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// namesOf are all names in a folder.
func namesOf(dir int) (map[string]struct{}, error) {
	all := map[string]struct{}{}
	err := tree.List(dir, 0, func(n tree.Name) bool {
		if !n.Dots() {
			all[n.Name] = struct{}{}
		}
		return true
	})
	return all, err
}
