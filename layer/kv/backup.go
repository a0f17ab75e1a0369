package kv

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

type backupOptions struct {
	from, passwordFile            string
	tls                           bool
	authorities, certificate, key string
}

// copy makes a folder, and says what was found in it.
func (o *backupOptions) copy(ctx context.Context, into string, progress func(done, total int64)) (string, error) {
	into = filepath.Clean(into)
	switch _, err := os.Lstat(into); {
	case err == nil:
		return "", fmt.Errorf("%s is there already: name a folder to make", into)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	from, err := o.dial(ctx)
	if err != nil {
		return "", err
	}
	defer from.close()
	part := into + ".part"
	if err := os.Mkdir(part, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	} else if err != nil {
		return "", fmt.Errorf("%w: it is where the copy grows; remove it if no other backup writes there", err)
	}
	found, err := from.backUp(part, progress)
	if err == nil {
		err = rename(part, into)
	}
	if err != nil {
		return "", errors.Join(from.explain(err), os.RemoveAll(part))
	}
	return strings.Replace(found, part, into, 1), nil
}

// patience is how long a reply may take: a server that compacts may be late.
const patience = time.Minute

// source is a server. It is not trusted.
type source struct {
	name string
	conn net.Conn
	r    *bufio.Reader
	out  resp.Writer
	ctx  context.Context
	stop func() bool // ends the wait for ctx
}

// dial connects, and shows the password.
func (o *backupOptions) dial(ctx context.Context) (*source, error) {
	password, err := readPassword(o.passwordFile)
	if err != nil {
		return nil, err
	}
	conn, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &source{name: o.from, conn: conn, r: bufio.NewReader(conn), ctx: ctx, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if password == "" {
		return s, nil
	}
	if err := s.ask("auth", password); err != nil {
		return nil, errors.Join(s.explain(err), s.close())
	}
	if err := resp.ReadStatus(s.r); err != nil {
		return nil, errors.Join(s.explain(err), s.close())
	}
	return s, nil
}

func (o *backupOptions) connect(ctx context.Context) (net.Conn, error) {
	network, address := "tcp", o.from
	if path, ok := strings.CutPrefix(o.from, "unix:"); ok {
		network, address = "unix", path
	}
	plain := net.Dialer{Timeout: patience}
	if !o.tls {
		return plain.DialContext(ctx, network, address)
	}
	cfg, err := o.secure()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: &plain, Config: cfg}).DialContext(ctx, network, address)
}

func (o *backupOptions) secure() (c *tls.Config, err error) {
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.authorities != "" {
		if c.RootCAs, err = authorities(o.authorities); err != nil {
			return nil, err
		}
	}
	if o.certificate != "" {
		pair, err := tls.LoadX509KeyPair(o.certificate, o.key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// ask sends a command.
func (s *source) ask(words ...string) error {
	s.out.Out = s.out.Out[:0]
	s.out.Array(len(words))
	for _, w := range words {
		s.out.Text(w)
	}
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.out.Out)
	return err
}

// explain says whose error it is, or why the connection was closed.
func (s *source) explain(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("back up %s: %w", s.name, err)
}

// close ends the connection, and with it the backup.
func (s *source) close() error {
	s.stop()
	return s.conn.Close()
}

// backUp copies what the server has into an empty folder, and says what was found when that was verified.
func (s *source) backUp(path string, progress func(done, total int64)) (found string, err error) {
	if err := s.ask("backup", "begin"); err != nil {
		return "", err
	}
	layout, err := resp.ReadInts(s.r, 1+engine.MaxSegments)
	if err != nil {
		return "", err
	}
	if len(layout) < 2 {
		return "", errors.New("it says nothing of its store")
	}
	ends := make([]int, len(layout)-1)
	for i := range ends {
		ends[i] = int(layout[1+i])
	}
	folder, err := disk.Open(path, engine.IsOurs, disk.Ordinary)
	if err != nil {
		return "", err
	}
	err = engine.CopyTo(folder, int(layout[0]), ends, s.read, progress)
	if err = errors.Join(err, folder.Close()); err != nil {
		return "", err
	}
	return check(path)
}

func (s *source) read(segment, off, n int) ([]byte, error) {
	if err := s.ask("backup", "read", strconv.Itoa(segment), strconv.Itoa(off), strconv.Itoa(n)); err != nil {
		return nil, err
	}
	return resp.ReadBulk(s.r, n)
}

// rename gives a folder its name for good.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return disk.SyncFolder(filepath.Dir(to))
}
