package block_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/machine/block"
	"usui/machine/block/blocktest"
)

// engines are those that this machine has.
var engines = []block.Engine{block.EngineURing, block.EnginePread}

// folders are file systems of different abilities: the one of temporary files, and one in memory.
func folders(t *testing.T) map[string]string {
	t.Helper()
	dirs := map[string]string{"disk": t.TempDir()}
	if d, err := os.MkdirTemp("/dev/shm", "usui-block"); err == nil {
		t.Cleanup(func() { os.RemoveAll(d) })
		dirs["memory"] = d
	}
	return dirs
}

func forEach(t *testing.T, run func(t *testing.T, dir string, e block.Engine)) {
	for name, dir := range folders(t) {
		for _, e := range engines {
			t.Run(name+"/"+e.String(), func(t *testing.T) { run(t, dir, e) })
		}
	}
}

// image makes a file with content.
func image(t testing.TB, dir string, content []byte) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.img")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	return f.Name()
}

func open(t testing.TB, path string, o block.Options) *block.File {
	t.Helper()
	if o.Engine == block.EngineURing {
		need.URing(t)
	}
	f, err := block.OpenFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func do(t testing.TB, f *block.File, r block.Request) error {
	t.Helper()
	result := make(chan error, 1)
	if err := f.Submit([]block.Request{r}, func(_ uint64, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	return <-result
}

func TestBackend(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		blocktest.TestBackend(t, func(t *testing.T, content []byte, readOnly bool) block.Backend {
			return open(t, image(t, dir, content), block.Options{ReadOnly: readOnly, Engine: e})
		})
	})
}

func TestAutoChoosesAnEngine(t *testing.T) {
	for name, dir := range folders(t) {
		f := open(t, image(t, dir, make([]byte, 512)), block.Options{})
		want := block.EnginePread
		if name == "disk" {
			need.URing(t)
			want = block.EngineURing
		}
		if f.Engine() != want {
			t.Errorf("Engine() = %v for a file on %s, want %v", f.Engine(), name, want)
		}
	}
}

// A file of 1000 bytes is a disk of two sectors: the rest of the second reads as zero, and writing it lengthens the file.
func TestTailOfAnOddSize(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		path := image(t, dir, bytes.Repeat([]byte{7}, 1000))
		f := open(t, path, block.Options{Engine: e})
		if f.Geometry().Size != 1024 {
			t.Fatalf("Size = %d, want 1024", f.Geometry().Size)
		}
		a, b := bytes.Repeat([]byte{9}, 700), bytes.Repeat([]byte{9}, 324)
		if err := do(t, f, block.Request{Op: block.Read, Buffers: [][]byte{a, b}}); err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Repeat([]byte{7}, 1000), make([]byte, 24)...)
		if got := append(a, b...); !bytes.Equal(got, want) {
			t.Errorf("read %v, want 1000 sevens and 24 zeroes", got)
		}
		if err := do(t, f, block.Request{Op: block.Write, Offset: 512, Buffers: [][]byte{bytes.Repeat([]byte{8}, 512)}}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if want := append(bytes.Repeat([]byte{7}, 512), bytes.Repeat([]byte{8}, 512)...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file holds %d bytes after the write, want 512 sevens and 512 eights", len(got))
		}
	})
}

func TestFileThatShrinksReadsAsZero(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		path := image(t, dir, bytes.Repeat([]byte{7}, 8192))
		f := open(t, path, block.Options{Engine: e})
		if err := os.Truncate(path, 600); err != nil {
			t.Fatal(err)
		}
		buf := bytes.Repeat([]byte{9}, 8192)
		if err := do(t, f, block.Request{Op: block.Read, Buffers: [][]byte{buf[:5000], buf[5000:]}}); err != nil {
			t.Fatal(err)
		}
		if want := append(bytes.Repeat([]byte{7}, 600), make([]byte, 8192-600)...); !bytes.Equal(buf, want) {
			t.Error("what was cut off does not read as zero")
		}
	})
}

func TestDiscardGivesRoomBack(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		path := image(t, dir, bytes.Repeat([]byte{7}, 4<<20))
		f := open(t, path, block.Options{Engine: e})
		if !f.Geometry().Discard {
			t.Skip("the file system has no holes")
		}
		if err := do(t, f, block.Request{Op: block.Flush}); err != nil { // so that blocks are allocated
			t.Fatal(err)
		}
		before := allocated(t, path)
		if err := do(t, f, block.Request{Op: block.Discard, Offset: 1 << 20, Length: 2 << 20}); err != nil {
			t.Fatal(err)
		}
		if after := allocated(t, path); before-after < 2<<20 {
			t.Errorf("%d bytes allocated before, %d after, want 2 MiB less", before, after)
		}
		if st, err := os.Stat(path); err != nil || st.Size() != 4<<20 {
			t.Errorf("the file has %d bytes, want 4 MiB", st.Size())
		}
	})
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		readOnly   bool
		text       string
		is         error
	}{
		{"absent", filepath.Join(dir, "no.img"), false, "no such file", fs.ErrNotExist},
		{"directory to write", dir, false, "is a directory", nil},
		{"directory to read", dir, true, "is a directory, want a disk image", nil},
		{"empty", image(t, dir, nil), false, "is empty", nil},
		{"fifo to write", fifo, false, "neither a regular file nor a block device", nil},
		{"fifo to read", fifo, true, "neither a regular file nor a block device", nil},
		{"character device", "/dev/null", false, "neither a regular file nor a block device", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := block.OpenFile(tt.path, block.Options{ReadOnly: tt.readOnly})
			if err == nil || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("OpenFile = %v, want an error with %q and the path", err, tt.text)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("OpenFile = %v, want it to be %v", err, tt.is)
			}
		})
	}
}

func TestLocks(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		path := image(t, dir, make([]byte, 4096))
		for _, tt := range []struct {
			name          string
			first, second bool // read-only
			free          bool
		}{
			{"two writers", false, false, false},
			{"a writer, then a reader", false, true, false},
			{"a reader, then a writer", true, false, false},
			{"two readers", true, true, true},
		} {
			first := open(t, path, block.Options{ReadOnly: tt.first, Engine: e})
			second, err := block.OpenFile(path, block.Options{ReadOnly: tt.second, Engine: e})
			if tt.free != (err == nil) {
				t.Errorf("%s: the second OpenFile = %v", tt.name, err)
			}
			if err == nil {
				second.Close()
			} else if want := path + ": in use by another process (lock); "; !errors.Is(err, block.ErrInUse) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %q, want %q...", tt.name, err, want)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			open(t, path, block.Options{Engine: e}).Close() // nothing is left behind
		}
	})
}

// QEMU's own locks, as its block/file-posix.c takes them for a guest's disk.
func TestLocksOfQEMU(t *testing.T) {
	tests := []struct {
		name         string
		used, denied []int64
		write, read  bool // whether we may
	}{
		{"a writing guest", []int64{0, 1, 3}, []int64{1, 3}, false, false},
		{"a reading guest", []int64{0}, []int64{1, 3}, false, true},
		{"a guest that shares writing", []int64{0, 1}, nil, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := image(t, t.TempDir(), make([]byte, 4096))
			q, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			hold := func(start int64) error {
				l := unix.Flock_t{Type: unix.F_RDLCK, Start: start, Len: 1}
				return unix.FcntlFlock(q.Fd(), unix.F_OFD_SETLK, &l)
			}
			for _, p := range tt.used {
				if err := hold(100 + p); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range tt.denied {
				if err := hold(200 + p); err != nil {
					t.Fatal(err)
				}
			}
			for readOnly, may := range map[bool]bool{false: tt.write, true: tt.read} {
				f, err := block.OpenFile(path, block.Options{ReadOnly: readOnly})
				if may != (err == nil) {
					t.Errorf("OpenFile(read-only %v) = %v, want it to work: %v", readOnly, err, may)
				}
				if err == nil {
					f.Close()
				}
			}
		})
	}
	t.Run("QEMU after us", func(t *testing.T) {
		path := image(t, t.TempDir(), make([]byte, 4096))
		open(t, path, block.Options{})
		q, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		l := unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}
		if err := unix.FcntlFlock(q.Fd(), unix.F_OFD_SETLK, &l); err != unix.EAGAIN {
			t.Errorf("a reading QEMU locks our disk: %v, want %v", err, unix.EAGAIN)
		}
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		f := open(t, image(t, dir, make([]byte, 1<<20)), block.Options{Engine: e})
		const n = 16
		reqs := make([]block.Request, n)
		bufs := make([][]byte, n*2)
		for i := range bufs {
			bufs[i] = make([]byte, 4096)
		}
		finished := make(chan error, n)
		done := func(_ uint64, err error) { finished <- err }
		round := func() {
			for i := range reqs {
				op := block.Read
				if i%4 == 0 {
					op = block.Write
				}
				reqs[i] = block.Request{Op: op, Offset: int64(i) * 8192, Buffers: bufs[2*i : 2*i+2], Tag: uint64(i)}
			}
			if err := f.Submit(reqs, done); err != nil {
				t.Fatal(err)
			}
			for range reqs {
				if err := <-finished; err != nil {
					t.Fatal(err)
				}
			}
		}
		if a := testing.AllocsPerRun(200, round); a != 0 {
			t.Errorf("%v allocations for %d requests, want none", a, n)
		}
	})
}

func TestOpenAndCloseLeakNothing(t *testing.T) {
	count := func() (fds, goroutines int) {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d), runtime.NumGoroutine()
	}
	forEach(t, func(t *testing.T, dir string, e block.Engine) {
		path := image(t, dir, make([]byte, 4096))
		open(t, path, block.Options{Engine: e}).Close()
		fds, goroutines := count()
		for range 10 {
			f := open(t, path, block.Options{Engine: e})
			if err := do(t, f, block.Request{Op: block.Read, Buffers: [][]byte{make([]byte, 4096)}}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := block.OpenFile(filepath.Dir(path), block.Options{ReadOnly: true}); err == nil {
				t.Fatal("a directory is a disk")
			}
		}
		a, b := count()
		for range 1 << 20 { // a goroutine that said it is done may not be gone yet
			if a <= fds && b <= goroutines {
				return
			}
			runtime.Gosched()
			a, b = count()
		}
		t.Errorf("%d descriptors and %d goroutines, before %d and %d", a, b, fds, goroutines)
	})
}
