package fsmove

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/control"
)

// TestFilesAreAsTheirModels has clients do 100,000 things with files that are on their way, with a slice of bytes for each file as a model, while the process that serves them is killed.
func TestFilesAreAsTheirModels(t *testing.T) { exercise(t, 1, 100_000, 12) }

// How many clients exercise files, and how many files each has, one after the other.
const exercisers, exercised = 8, 10

// mostExercised is how large such a file gets: several times what is fetched as a whole when it is opened.
const mostExercised = 3 << 20

// exercise has clients do so many things.
func exercise(t *testing.T, seed uint64, ops, kills int) {
	src, dst, at := paths(t)
	models := make([]*model, exercisers*exercised)
	for i := range models {
		models[i] = newModel(t, src, at, seed, i)
	}
	v := startKept(t, src, dst, at)
	steps := make(chan struct{}, ops)
	var clients sync.WaitGroup
	for c := range exercisers {
		clients.Go(func() { // until it has done its part
			for _, m := range models[c*exercised:][:exercised] {
				if err := m.run(ops/len(models), steps); err != nil {
					t.Errorf("%s: %v", m.path, err)
					return
				}
			}
		})
	}
	go func() { clients.Wait(); close(steps) }() // until they end
	done, paused := 0, false
	for range steps {
		if done++; done%(ops/(kills+1)) != 0 || done/(ops/(kills+1)) > kills {
			continue
		}
		paused = !paused
		c, _ := v.ask(t)
		if err := c.Pause(t.Context(), paused); err != nil {
			t.Fatal(err)
		}
		v.kill(t)
	}
	if t.Failed() {
		return
	}
	if done != ops {
		t.Errorf("%d things were done, want %d", done, ops)
	}
	for _, m := range models {
		m.check(t, at)
	}
	c, _ := v.ask(t)
	if err := errors.Join(c.Pause(t.Context(), false), c.Finish(t.Context(), control.Consent{Verify: control.None})); err != nil {
		t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	for _, m := range models {
		m.check(t, dst)
	}
}

// model is what a file has to be.
type model struct {
	dir    string // the mount
	path   string // below it
	f      *os.File
	data   []byte
	random *rand.Rand
}

// newModel makes the file at the source: some of it data, some of it holes.
func newModel(t *testing.T, src, dir string, seed uint64, i int) *model {
	t.Helper()
	m := &model{dir: dir, path: fmt.Sprintf("d%d/file%d", i%exercisers, i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
	m.data = make([]byte, m.random.IntN(mostExercised>>(i%3*4)))
	path := filepath.Join(src, m.path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(int64(len(m.data)))
	for off := 0; off < len(m.data); off += 256 << 10 {
		if m.random.IntN(3) > 0 {
			p := m.data[off:min(len(m.data), off+m.random.IntN(256<<10))]
			m.fill(p)
			_, werr := f.WriteAt(p, int64(off))
			err = errors.Join(err, werr)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fill makes content, cheaply.
func (m *model) fill(p []byte) {
	x := m.random.Uint64() | 1
	for i := range p {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x >> 56)
	}
}

// check compares the file in a tree with the model.
func (m *model) check(t *testing.T, dir string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, m.path))
	if err == nil {
		err = m.same(got, 0, len(m.data))
	}
	if err != nil {
		t.Errorf("%s of %s: %v", m.path, dir, err)
	}
}

// same compares what was read at an offset, where the model's file has so many bytes.
func (m *model) same(got []byte, off, n int) error {
	want := m.data[off : off+n]
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Errorf("read %d bytes at %d, want %d; the first difference is at %d", len(got), off, len(want), off+i)
}

// run does so many things, and tells of each.
func (m *model) run(n int, steps chan<- struct{}) (err error) {
	if err := m.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.f.Close()) }()
	for i := range n {
		name, do := m.next()
		if err := do(); err != nil {
			return fmt.Errorf("%s, which is number %d: %w", name, i, err)
		}
		steps <- struct{}{}
	}
	return nil
}

func (m *model) next() (name string, do func() error) {
	switch n := m.random.IntN(100); {
	case n < 25:
		return "read", m.read
	case n < 50:
		return "write", m.write
	case n < 55:
		return "append", m.append
	case n < 61:
		return "truncate", m.truncate
	case n < 66:
		return "punch", m.punch
	case n < 69:
		return "reserve", m.reserve
	case n < 80:
		return "map", m.mapped
	case n < 83:
		return "sync", m.f.Sync
	case n < 90:
		return "open", func() error { return errors.Join(m.f.Close(), m.open()) }
	case n < 91:
		return "copy", m.copy
	case n < 94:
		return "rename", m.rename
	case n < 96:
		return "link", m.link
	}
	return "stat", m.stat
}

func (m *model) at() string { return filepath.Join(m.dir, m.path) }

func (m *model) open() (err error) {
	m.f, err = os.OpenFile(m.at(), os.O_RDWR, 0)
	return err
}

// place is somewhere in the file, or behind its end.
func (m *model) place() (off, n int) {
	most := 1 << m.random.IntN(17)
	off = m.random.IntN(min(len(m.data)+1000, mostExercised-most))
	return off, 1 + m.random.IntN(most)
}

func (m *model) read() error {
	off, n := m.place()
	p := make([]byte, n)
	got, err := m.f.ReadAt(p, int64(off))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	off = min(off, len(m.data))
	return m.same(p[:got], off, min(n, len(m.data)-off))
}

// size changes the model's.
func (m *model) size(n int) {
	if n <= len(m.data) {
		m.data = m.data[:n]
		return
	}
	m.data = append(m.data, make([]byte, n-len(m.data))...)
}

func (m *model) write() error {
	off, n := m.place()
	m.size(max(len(m.data), off+n))
	m.fill(m.data[off : off+n])
	_, err := m.f.WriteAt(m.data[off:off+n], int64(off))
	return err
}

func (m *model) append() error {
	off, n := len(m.data), 1+m.random.IntN(5000)
	if off+n > mostExercised {
		return m.truncate()
	}
	f, err := os.OpenFile(m.at(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	m.size(off + n)
	m.fill(m.data[off:])
	_, err = f.Write(m.data[off:])
	return errors.Join(err, f.Close())
}

func (m *model) truncate() error {
	n := m.random.IntN(min(mostExercised, 2*len(m.data)+10_000))
	m.size(n)
	if n%2 == 0 {
		return os.Truncate(m.at(), int64(n))
	}
	return m.f.Truncate(int64(n))
}

func (m *model) punch() error {
	off, n := m.place()
	clear(m.data[min(off, len(m.data)):min(off+n, len(m.data))])
	return unix.Fallocate(int(m.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
}

func (m *model) reserve() error {
	off, n := m.place()
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE)
	if n%2 == 0 {
		mode = 0
		m.size(max(len(m.data), off+n))
	}
	return unix.Fallocate(int(m.f.Fd()), mode, int64(off), int64(n))
}

// mapped reads and writes by a mapping.
func (m *model) mapped() error {
	off, n := m.place()
	off &^= os.Getpagesize() - 1
	if n = min(n, len(m.data)-off); n <= 0 {
		return nil
	}
	p, err := unix.Mmap(int(m.f.Fd()), int64(off), n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	err = m.same(p, off, n)
	from := m.random.IntN(n)
	m.fill(m.data[off+from : off+n])
	copy(p[from:], m.data[off+from:off+n])
	if n%2 == 0 {
		err = errors.Join(err, unix.Msync(p, unix.MS_SYNC))
	}
	return errors.Join(err, unix.Munmap(p))
}

// copy reads what is no hole.
func (m *model) copy() error {
	fd, got := int(m.f.Fd()), make([]byte, len(m.data))
	for off := int64(0); ; {
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return m.same(got, 0, len(m.data))
		}
		if err != nil {
			return err
		}
		if off, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil {
			return err
		}
		if off > int64(len(got)) {
			return fmt.Errorf("data from %d to %d in a file of %d bytes", from, off, len(got))
		}
		if _, err := m.f.ReadAt(got[from:off], from); err != nil {
			return err
		}
	}
}

// name is a new one, in another folder or not.
func (m *model) name() string {
	return filepath.Join(fmt.Sprintf("d%d", m.random.IntN(exercisers)), fmt.Sprint("named", m.random.Uint64()))
}

func (m *model) rename() error {
	old := m.at()
	m.path = m.name()
	return os.Rename(old, m.at())
}

// link gives it another name, and takes the old one away.
func (m *model) link() error {
	old := m.at()
	m.path = m.name()
	return errors.Join(os.Link(old, m.at()), os.Remove(old))
}

func (m *model) stat() error {
	a, err1 := m.f.Stat()
	b, err2 := os.Stat(m.at())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if a.Size() != int64(len(m.data)) || b.Size() != a.Size() {
		return fmt.Errorf("it has %d bytes, by its name %d, want %d", a.Size(), b.Size(), len(m.data))
	}
	return nil
}
