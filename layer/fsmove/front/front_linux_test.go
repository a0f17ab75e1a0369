package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/keeper"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// move is a migration with its mount.
type move struct {
	*migration.Migration
	mount        *Mount
	src, dst, at string
	unmount      func()
}

// begin mounts the destination of a new migration.
func begin(t *testing.T, src string) *move { return beginEarly(t, src, 0) }

// beginEarly is begin with migration.Config.Early.
func beginEarly(t *testing.T, src string, early int) *move {
	t.Helper()
	need.Root(t)
	need.FUSE(t)
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	v := &move{src: src, dst: t.TempDir(), at: t.TempDir()}
	var err error
	if v.Migration, err = migration.New(migration.Config{Source: src, Destination: v.dst, Early: early, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	seat, err := keeper.New(src, v.dst)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(v.Migration, seat, v.at, logger)
	if err != nil {
		t.Fatal(err)
	}
	v.mount = m
	served := make(chan error)
	go func() { served <- m.Serve() }()
	settlePoll(t, v.at)
	done := false
	v.unmount = func() {
		if done {
			return
		}
		done = true
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(v.unmount)
	return v
}

// settlePoll has the kernel learn that files of the mount cannot be polled. Go asks that of each file that it opens, without its scheduler: where the same process has to
// answer, that can wait for itself. go-fuse has a file for this.
func settlePoll(t *testing.T, at string) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(at, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}

// grow makes a tree with some of everything.
func grow(t *testing.T, dir string, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folders, files := []string{dir}, []string{}
	for i := range 80 {
		path := filepath.Join(folders[random.IntN(len(folders))], fmt.Sprint("n", i))
		switch i % 5 {
		case 0:
			must(os.Mkdir(path, 0o755))
			folders = append(folders, path)
		case 1:
			must(os.WriteFile(path, content(random.IntN(3<<20), byte(i)), 0o644))
			files = append(files, path)
		case 2:
			must(os.WriteFile(path, content(random.IntN(9000), byte(i)), 0o600))
			must(os.Chown(path, i, i+1))
			must(unix.Setxattr(path, "user.n", []byte{byte(i)}, 0))
			files = append(files, path)
		case 3:
			must(os.Link(files[random.IntN(len(files))], path))
		case 4:
			must(os.Symlink(fmt.Sprint("n", random.IntN(80)), path))
		}
	}
	for _, f := range append(files, folders...) {
		must(os.Chtimes(f, time.Unix(1_600_000_000, 5), time.Unix(1_500_000_000, int64(len(f)))))
	}
}

// content is some, other for each seed.
func content(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// image is what a user sees of a tree, by path: metadata, content and, of those inodes that have several, the first name.
func image(t *testing.T, dir string, times bool) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	root, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == migration.StateFolder {
			return filepath.SkipDir
		}
		if name == "." {
			name = ""
		}
		fd, err := root.At(name, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m, err := tree.Read(fd, "")
		if err != nil {
			return err
		}
		if first[m.Ino] == "" {
			first[m.Ino] = name
		}
		size := m.Size
		if m.Type() == unix.S_IFDIR {
			size = 0
		}
		about := fmt.Sprintf("%o %d:%d %d %v %q %v first %q", m.Mode, m.UID, m.GID, size, m.Rdev, m.Target, m.Xattrs, first[m.Ino])
		if times {
			about += m.Mtime.String()
		}
		if m.Type() == unix.S_IFREG {
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			about += fmt.Sprintf(" %x %x", p[:min(len(p), 32)], crc32.ChecksumIEEE(p))
		}
		all[name] = about
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheMountIsAsTheSource(t *testing.T) {
	src := t.TempDir()
	grow(t, src, 1)
	want := image(t, src, true)
	v := begin(t, src)
	if d := cmp.Diff(want, image(t, v.at, true)); d != "" {
		t.Errorf("by the mount: -want +got\n%s", d)
	}
	if err := v.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.unmount()
	if d := cmp.Diff(want, image(t, v.dst, true)); d != "" {
		t.Errorf("at the end: -want +got\n%s", d)
	}
	if d := cmp.Diff(want, image(t, src, true)); d != "" {
		t.Errorf("the source: -want +got\n%s", d)
	}
}

// TestClientsSeeWhatTheyWouldOnPlainFiles does the same by the mount, while the migration is at work, and on a copy of the source.
func TestClientsSeeWhatTheyWouldOnPlainFiles(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { besidePlain(t, seed, 0) })
		t.Run(fmt.Sprint(seed, " early"), func(t *testing.T) { besidePlain(t, seed, 1) })
	}
}

func besidePlain(t *testing.T, seed uint64, early int) {
	src, plain := t.TempDir(), filepath.Join(t.TempDir(), "plain")
	grow(t, src, seed)
	if out, err := exec.Command("cp", "-a", src, plain).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v, %s", err, out)
	}
	v := beginEarly(t, src, early)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	random := rand.New(rand.NewPCG(seed, 9))
	const steps = 250
	begins := random.IntN(2 * steps)
	for step := range steps {
		if step == begins {
			go func() { ran <- v.Run(ctx) }()
		}
		act := act(random, step)
		got, err1 := act(v.at)
		want, err2 := act(plain)
		if got != want || !sameError(err1, err2) {
			t.Fatalf("step %d: %q, %v; on plain files %q, %v", step, got, err1, want, err2)
		}
	}
	if begins >= steps {
		go func() { ran <- v.Run(ctx) }()
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	stop()
	if d := cmp.Diff(image(t, plain, false), image(t, v.at, false)); d != "" {
		t.Errorf("by the mount: -want +got\n%s", d)
	}
	if err := v.Run(t.Context()); err != nil { // what clients made needs nothing
		t.Fatal(err)
	}
	v.unmount()
	if d := cmp.Diff(image(t, plain, false), image(t, v.dst, false)); d != "" {
		t.Errorf("at the end: -want +got\n%s", d)
	}
}

// sameError compares what a system call would have said.
func sameError(a, b error) bool {
	var x, y unix.Errno
	return (a == nil) == (b == nil) && errors.As(a, &x) == errors.As(b, &y) && x == y
}

// act is something that a client does below a folder, and what it sees.
func act(random *rand.Rand, step int) func(dir string) (string, error) {
	which, one, two, n := random.IntN(16), random.IntN(1<<30), random.IntN(1<<30), random.IntN(1<<30)
	return func(dir string) (string, error) {
		var all, folders []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && path != dir {
				all = append(all, path)
			}
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if len(all) == 0 {
			return "", nil
		}
		path, into := all[one%len(all)], filepath.Join(folders[two%len(folders)], fmt.Sprint("new", step))
		switch which {
		case 0:
			return "", os.Mkdir(into, 0o2775)
		case 1:
			return "", os.WriteFile(into, content(n%100_000, byte(step)), 0o666)
		case 2:
			return "", unix.Rename(path, into)
		case 3:
			return "", unix.Rename(path, all[two%len(all)])
		case 4:
			return "", os.Link(path, into)
		case 5:
			return "", unix.Unlink(path)
		case 6:
			return "", unix.Rmdir(path)
		case 7:
			return "", unix.Truncate(path, int64(n%(2<<20)))
		case 8, 9:
			return inFile(path, os.O_RDWR, func(f *os.File) (string, error) {
				_, err := f.WriteAt(content(two%50_000, byte(step)), int64(n%(3<<20)))
				return "", errors.Join(err, f.Sync())
			})
		case 10, 11:
			return inFile(path, os.O_RDONLY, func(f *os.File) (string, error) {
				p := make([]byte, two%50_000)
				k, err := f.ReadAt(p, int64(n%(3<<20)))
				if err != nil && k >= 0 {
					err = nil // the end
				}
				return string(p[:k]), err
			})
		case 12:
			return "", unix.Lchown(path, n%1000, two%1000)
		case 13:
			return "", unix.Fchmodat(unix.AT_FDCWD, path, uint32(n)&0o777, 0)
		case 14:
			return "", os.WriteFile(path, content(n%5000, byte(step)), 0o600)
		default:
			return inFile(path, os.O_RDWR, func(f *os.File) (string, error) {
				return "", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(n%(2<<20)), int64(1+two%300_000))
			})
		}
	}
}

func inFile(path string, flags int, f func(*os.File) (string, error)) (string, error) {
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return f(file)
}

func TestTheMigrationsFolderIsNotSeen(t *testing.T) {
	v := begin(t, t.TempDir())
	at := filepath.Join(v.at, migration.StateFolder)
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat = %v", err)
	}
	for what, err := range map[string]error{
		"mkdir": os.Mkdir(at, 0o700), "create": os.WriteFile(at, nil, 0o600), "symlink": os.Symlink("x", at),
		"rename": errors.Join(os.WriteFile(filepath.Join(v.at, "f"), nil, 0o600), os.Rename(filepath.Join(v.at, "f"), at)),
	} {
		if err == nil {
			t.Errorf("%s of its name succeeded", what)
		}
	}
	if err := os.Mkdir(filepath.Join(v.at, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(v.at, "d", migration.StateFolder), 0o700); err != nil {
		t.Errorf("in another folder the name is free: %v", err)
	}
	all, err := os.ReadDir(v.at)
	if err != nil || len(all) != 2 {
		t.Errorf("seen: %v, %v; want d and f", all, err)
	}
}

// TestAReadOfALargeFileFetchesLittle reads 4 KiB in the middle of 10 GiB.
func TestAReadOfALargeFileFetchesLittle(t *testing.T) {
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "large"))
	if err != nil {
		t.Fatal(err)
	}
	want := content(4<<20, 3)
	err = errors.Join(f.Truncate(10<<30), func() error { _, err := f.WriteAt(want, 5<<30); return err }(), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	got, err := inFile(filepath.Join(v.at, "large"), os.O_RDONLY, func(f *os.File) (string, error) {
		p := make([]byte, 4096)
		_, err := f.ReadAt(p, 5<<30+1<<20)
		return string(p), err
	})
	if err != nil || !bytes.Equal([]byte(got), want[1<<20:1<<20+4096]) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if n := v.Stats().BytesFetched; n == 0 || n > 2<<20 {
		t.Errorf("%d bytes left the source, want at most 2 MiB", n)
	}
}

// TestTheKernelReadsAndWritesWhatIsComplete uses a large file before and after all of it has arrived, and one that takes another's rights, which may never pass.
func TestTheKernelReadsAndWritesWhatIsComplete(t *testing.T) {
	src := t.TempDir()
	want := content(3<<20, 1)
	for _, name := range []string{"large", "setuid"} {
		if err := os.WriteFile(filepath.Join(src, name), want, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Chmod(filepath.Join(src, "setuid"), 0o4777); err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	// use writes and reads, by calls and by memory, and says how many opens passed and how many accesses were carried.
	use := func(name string, at int) (passed, carried uint64) {
		t.Helper()
		before := v.mount.Stats()
		_, err := inFile(filepath.Join(v.at, name), os.O_RDWR, func(f *os.File) (string, error) {
			copy(want[at:], "written")
			if _, err := f.WriteAt([]byte("written"), int64(at)); err != nil {
				return "", err
			}
			got := make([]byte, len(want))
			if n, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: read %d bytes, %v; want what was written", name, n, err)
			}
			p, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return "", err
			}
			if !bytes.Equal(p, want) {
				t.Errorf("%s: in memory is something else", name)
			}
			copy(p[at+100:], "mapped")
			copy(want[at+100:], "mapped")
			return "", errors.Join(unix.Msync(p, unix.MS_SYNC), unix.Munmap(p))
		})
		if err != nil {
			t.Fatal(err)
		}
		after := v.mount.Stats()
		return after.Passed - before.Passed, after.Carried - before.Carried
	}
	if passed, carried := use("large", 1<<20); passed != 0 || carried == 0 {
		t.Errorf("before it is complete: %d opens passed, %d accesses were carried; want none and some", passed, carried)
	}
	if err := v.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if passed, carried := use("large", 2<<20); passed != 1 || carried != 0 {
		t.Errorf("once it is complete: %d opens passed, %d accesses were carried; want 1 and none", passed, carried)
	}
	if got, err := os.ReadFile(filepath.Join(v.dst, "large")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("at the destination are %d bytes, %v; want what was written", len(got), err)
	}
	if err := unix.Chmod(filepath.Join(v.at, "large"), 0o4777); err != nil { // from now on it is carried, and what was cached of it before is not what it has
		t.Fatal(err)
	}
	if passed, carried := use("large", 100); passed != 0 || carried == 0 {
		t.Errorf("after it got set-user-ID: %d opens passed, %d accesses were carried; want none and some", passed, carried)
	}
	want = content(3<<20, 1)
	if passed, carried := use("setuid", 0); passed != 0 || carried == 0 {
		t.Errorf("with set-user-ID: %d opens passed, %d accesses were carried; want none and some", passed, carried)
	}
}

// TestWhatAListingChangesIsSeen asks for a folder's and a file's number of names before and after a listing that has more of them.
func TestWhatAListingChangesIsSeen(t *testing.T) {
	src := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(src, "a/b/c"), 0o755), os.Mkdir(filepath.Join(src, "a/b/d"), 0o755), os.WriteFile(filepath.Join(src, "f"), nil, 0o600),
		os.Link(filepath.Join(src, "f"), filepath.Join(src, "a/f")))
	if err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	for range 2 { // the second time everything has arrived
		for _, name := range []string{"a/b", "f"} {
			if _, err := os.Stat(filepath.Join(v.at, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]uint32{"a/b": 4, "f": 2} {
		m, err := tree.Stat(unix.AT_FDCWD, filepath.Join(v.at, name))
		if err != nil || m.Links != want {
			t.Errorf("%s has %d names, %v; want %d", name, m.Links, err, want)
		}
	}
}

// TestFetchingIsNotSeen asks for a file before, while and after it is fetched: it has no holes that programs which save them would believe, and its times do not change.
func TestFetchingIsNotSeen(t *testing.T) {
	src := t.TempDir()
	path := filepath.Join(src, "large")
	if err := os.WriteFile(path, content(8<<20, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	want, err := tree.Stat(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	at := filepath.Join(v.at, "large")
	for _, off := range []int64{-1, 0, 6 << 20} {
		if off >= 0 {
			if _, err := inFile(at, os.O_RDONLY, func(f *os.File) (string, error) { _, err := f.ReadAt(make([]byte, 10), off); return "", err }); err != nil {
				t.Fatal(err)
			}
		}
		got, err := tree.Stat(unix.AT_FDCWD, at)
		if err != nil || got.Blocks*512 < got.Size || !got.Mtime.Equal(want.Mtime) || !got.Ctime.Equal(want.Ctime) {
			t.Errorf("after a read at %d: %d blocks, changed %v and %v, %v; want at least %d, %v and %v", off, got.Blocks, got.Mtime, got.Ctime, err, got.Size/512, want.Mtime, want.Ctime)
		}
	}
}

// TestHolesOfTheSourceAreSeen copies a file of 1 TiB that is nearly all hole, before it has arrived, of which a client has written a little: a program that saves holes finds them.
func TestHolesOfTheSourceAreSeen(t *testing.T) {
	cp := need.Tool(t, "cp", "coreutils")
	src := t.TempDir()
	sparse := map[int64][]byte{300 << 20: content(3<<20, 1), 1<<40 - 5000: content(5000, 2)}
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off, p := range sparse {
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	want, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	at := filepath.Join(v.at, "sparse")
	got, err := os.Stat(at)
	if err != nil || got.Sys().(*syscall.Stat_t).Blocks != want.Sys().(*syscall.Stat_t).Blocks {
		t.Errorf("it has %+v, want as many blocks as %+v", got.Sys(), want.Sys())
	}
	sparse[200<<20] = []byte("client")
	if _, err := inFile(at, os.O_WRONLY, func(f *os.File) (string, error) {
		_, err := f.WriteAt(sparse[200<<20], 200<<20)
		return "", err
	}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command(cp, at, to).CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	if n := v.Stats().BytesFetched; n > 8<<20 {
		t.Errorf("%d bytes left the source", n)
	}
	for off, p := range sparse {
		if _, err := inFile(to, os.O_RDONLY, func(f *os.File) (string, error) {
			got := make([]byte, len(p))
			if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
				t.Errorf("at %d the copy has other content, %v", off, err)
			}
			return "", nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoomThatIsReservedIsNotContent has a client reserve room in a file that is not fetched: what a file system tells of that as data was never there.
func TestRoomThatIsReservedIsNotContent(t *testing.T) {
	for _, mode := range []uint32{0, unix.FALLOC_FL_KEEP_SIZE} {
		src := t.TempDir()
		want := content(8<<20, 1)
		if err := os.WriteFile(filepath.Join(src, "large"), want, 0o644); err != nil {
			t.Fatal(err)
		}
		v := begin(t, src)
		at := filepath.Join(v.at, "large")
		if _, err := inFile(at, os.O_RDWR, func(f *os.File) (string, error) { return "", unix.Fallocate(int(f.Fd()), mode, 0, 8<<20) }); err != nil {
			t.Fatal(err)
		}
		below, err := os.ReadFile(filepath.Join(v.dst, "large"))
		if err != nil || !bytes.Equal(below, want) {
			t.Errorf("mode %d: at the destination are %d bytes, %v; want all of the file", mode, len(below), err)
		}
		if got, err := os.ReadFile(at); err != nil || !bytes.Equal(got, want) {
			t.Errorf("mode %d: %d bytes, %v; want all of the file", mode, len(got), err)
		}
	}
}

// TestACreateOfWhatIsThereEmptiesIt is of two clients who make the same file: the kernel leaves it to us to cut it, for it thinks that there is none.
func TestACreateOfWhatIsThereEmptiesIt(t *testing.T) {
	v := begin(t, t.TempDir())
	if _, err := os.ReadDir(v.at); err != nil { // a folder that is listed has what is found in it
		t.Fatal(err)
	}
	path := filepath.Join(v.dst, "f")
	if err := errors.Join(os.WriteFile(path, []byte("some"), 0o600), unix.Chmod(path, 0o4755)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags uint32
		want  string
		mode  uint32
	}{{unix.O_RDWR | unix.O_CREAT, "some", 0o4755}, {unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC, "", 0o755}} {
		in := fuse.CreateIn{InHeader: fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, Flags: c.flags, Mode: 0o600, OpenFlags: fuse.OPEN_KILL_SUIDGID}
		var out fuse.CreateOut
		if status := v.mount.fs.Create(nil, &in, "f", &out); !status.Ok() {
			t.Fatal(status)
		}
		v.mount.fs.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
		got, err := os.ReadFile(path)
		m, stated := tree.Stat(unix.AT_FDCWD, path)
		if err := errors.Join(err, stated); err != nil || !bytes.Equal(got, []byte(c.want)) || out.Size != uint64(len(c.want)) || m.Mode&0o7777 != c.mode {
			t.Errorf("with flags %#o it has %q of told size %d and mode %o, %v; want %q and %o", c.flags, got, out.Size, m.Mode, err, c.want, c.mode)
		}
	}
}

// TestTimesFollowAMapping has a client map a file that the kernel writes itself, close it, look at it, and write by the mapping: the time of change that others see follows.
func TestTimesFollowAMapping(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "f"), make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	v := begin(t, src)
	if err := v.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(v.at, "f")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	before, err := tree.Stat(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	p[5000] = 1
	if err := unix.Msync(p, unix.MS_SYNC); err != nil {
		t.Fatal(err)
	}
	for { // the kernel asks again within a second
		after, err := tree.Stat(unix.AT_FDCWD, path)
		if err != nil {
			t.Fatal(err)
		}
		if !after.Mtime.Equal(before.Mtime) {
			return
		}
	}
}
