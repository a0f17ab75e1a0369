package kv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
)

type backupOptions struct {
	from, passwordFile            string
	tls                           bool
	authorities, certificate, key string
}

// copy makes a folder, and says what was found in it.
func (o *backupOptions) copy(ctx context.Context, into string, progress func(done, total int64)) (string, error) {
	options, err := o.client()
	if err != nil {
		return "", err
	}
	into = filepath.Clean(into)
	if _, err := os.Lstat(into); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s exists already: name a folder to make (%w)", into, errors.Join(err, fs.ErrExist))
	}
	part := into + ".part"
	if err := os.Mkdir(part, 0o700); err != nil {
		return "", fmt.Errorf("%w: it is where the copy grows; remove it if no other backup writes there", err)
	}
	found, err := backUp(ctx, options, part, progress)
	if err == nil {
		err = rename(part, into)
	}
	if err != nil {
		return "", fmt.Errorf("back up %s: %w", o.from, errors.Join(err, os.RemoveAll(part)))
	}
	return strings.Replace(found, part, into, 1), nil
}

// patience is how long a reply may take: a server that compacts may be late.
const patience = time.Minute

// client is how the server is reached.
func (o *backupOptions) client() (*redis.Options, error) {
	password, err := readPassword(o.passwordFile)
	if err != nil {
		return nil, err
	}
	c := &redis.Options{
		Addr: o.from, Password: password, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: patience, WriteTimeout: patience,
	}
	if path, ok := strings.CutPrefix(o.from, "unix:"); ok {
		c.Network, c.Addr = "unix", path
	}
	if o.tls {
		c.TLSConfig, err = o.secure()
	}
	return c, err
}

func (o *backupOptions) secure() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if host, _, found := strings.Cut(o.from, ":"); found {
		c.ServerName = host
	}
	if o.authorities != "" {
		pem, err := os.ReadFile(o.authorities)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", o.authorities)
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

// backUp copies what a server has into an empty folder, and says what was found when that was verified.
func backUp(ctx context.Context, o *redis.Options, path string, progress func(done, total int64)) (found string, err error) {
	client := redis.NewClient(o)
	defer client.Close() // nothing is to be sent
	conn := client.Conn()
	defer conn.Close() // ends the backup, too
	layout, err := conn.Do(ctx, "backup", "begin").Int64Slice()
	switch {
	case err != nil:
		return "", err
	case len(layout) < 2:
		return "", errors.New("the server says nothing of its store")
	}
	ends := make([]int, len(layout)-1)
	for i := range ends {
		ends[i] = int(layout[1+i])
	}
	folder, err := disk.Open(path, engine.IsOurs, disk.Ordinary)
	if err != nil {
		return "", err
	}
	err = engine.CopyTo(folder, int(layout[0]), ends, func(segment, off, n int) ([]byte, error) {
		text, err := conn.Do(ctx, "backup", "read", segment, off, n).Text()
		return []byte(text), err
	}, progress)
	if err = errors.Join(err, folder.Close()); err != nil {
		return "", err
	}
	return check(path)
}

// rename gives a folder its name for good.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}
