package rundir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// suffix is that of sockets.
const suffix = ".sock"

// maxPath is the longest path of a Unix socket (unix(7)).
const maxPath = 107

// Dir is the folder of the running machines. It need not be there.
func Dir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "usui")
	}
	if os.Getuid() == 0 {
		return "/run/usui"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("usui-%d", os.Getuid()))
}

// Folder is where the sockets of one kind of process are.
type Folder string

// nameRule is what a name may be: it is a file's name, and stands in messages and in labels.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// CheckName says why name cannot be a machine's.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%.80q is no name of a machine: up to 64 letters, digits, dots, dashes and underscores, and the first is no dot or dash", name)
	}
	return nil
}

// ErrTaken is wrapped by the error of [Listen] for a name that a running machine has.
var ErrTaken = errors.New("a running machine has this name")

// Listen makes the socket of a machine. Closing the listener removes it.
func Listen(name string) (net.Listener, error) { return Folder(Dir()).Listen(name) }

// Listen is as the function of that name.
func (f Folder) Listen(name string) (_ net.Listener, err error) {
	dir := string(f)
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+suffix)
	if len(path) > maxPath {
		return nil, fmt.Errorf("%s: %d bytes are too many for a socket's path, at most %d: choose a shorter XDG_RUNTIME_DIR", path, len(path), maxPath)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close() // and with it the lock
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, &fs.PathError{Op: "flock", Path: dir, Err: err}
	}
	if answers(path) {
		return nil, fmt.Errorf("%q: %w; choose another one", name, ErrTaken)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &listener{UnixListener: l, path: path}, nil
}

// prepare makes the folder, or refuses one that others may enter.
func prepare(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Getuid()) || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s: not a folder of this user that only they may enter (mode 0700): remove it, or set XDG_RUNTIME_DIR", dir)
	}
	return nil
}

// answers says whether somebody listens. A socket whose queue is full has a listener.
func answers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil || !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist)
}

// listener removes its name.
type listener struct {
	*net.UnixListener
	path  string
	close sync.Once
	err   error
}

// Close implements [net.Listener]. The name goes first: as long as the socket listens, it is nobody else's.
func (l *listener) Close() error {
	l.close.Do(func() { l.err = errors.Join(os.Remove(l.path), l.UnixListener.Close()) })
	return l.err
}

// Names lists the machines, sorted. One that was killed may be among them.
func Names() ([]string, error) { return Folder(Dir()).Names() }

// Names is as the function of that name.
func (f Folder) Names() ([]string, error) {
	entries, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && e.Type() == fs.ModeSocket && CheckName(name) == nil {
			list = append(list, name)
		}
	}
	return list, err
}

// Client is an HTTP client of one machine: whatever the host in a URL, it speaks to the machine. Its requests have no time-out of their own.
func Client(name string) (*http.Client, error) { return Folder(Dir()).Client(name) }

// Client is as the function of that name.
func (f Folder) Client(name string) (*http.Client, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(string(f), name+suffix)
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) },
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}, nil
}
