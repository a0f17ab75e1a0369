package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// noDeadline has a connection wait as long as it takes.
var noDeadline time.Time

// Bounds of an answer.
const (
	askTime   = 10 * time.Second
	maxAnswer = 4 << 20
)

// Client asks one move.
type Client struct{ http *http.Client }

// ErrNone says that no move is running that has to do with a directory.
var ErrNone = errors.New("no move is running with this directory")

// All are the moves that run and answer.
func All(ctx context.Context) (clients []*Client, statuses []Status, err error) {
	names, err := folder().Names()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		c, err := folder().Client(n)
		if err != nil {
			return nil, nil, err
		}
		client := &Client{c}
		s, err := client.Status(ctx)
		if gone(err) {
			continue // it was killed, and left its socket
		}
		if err != nil {
			return nil, nil, err
		}
		clients, statuses = append(clients, client), append(statuses, s)
	}
	return clients, statuses, nil
}

// Find is the move whose source, destination or mount point a directory is. The error for none is [ErrNone].
func Find(ctx context.Context, directory string) (*Client, Status, error) {
	path, err := filepath.Abs(directory)
	if err != nil {
		return nil, Status{}, err
	}
	clients, statuses, err := All(ctx)
	if err != nil {
		return nil, Status{}, err
	}
	for _, p := range []string{path, resolved(path)} {
		for i, s := range statuses {
			if p == s.MountPoint || p == s.Destination || p == s.Source {
				return clients[i], s, nil
			}
		}
	}
	return nil, Status{}, fmt.Errorf("%s: %w", directory, ErrNone)
}

// resolved is a path without symbolic links. One that is on a dead mount stays as it is.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// gone says that nobody answers any more.
func gone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// Status asks how it is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	ctx, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	err = c.do(ctx, http.MethodGet, "/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&s) })
	return s, err
}

// Pause has everything wait that no client waits for, or not.
func (c *Client) Pause(ctx context.Context, paused bool) error {
	if paused {
		return c.do(ctx, http.MethodPost, "/pause", nil)
	}
	return c.do(ctx, http.MethodPost, "/resume", nil)
}

// Finish returns when the destination is in place, or why it is not.
func (c *Client) Finish(ctx context.Context, how Consent) error {
	q := url.Values{"verify": {string(how.Verify)}, "skipped": {strconv.FormatBool(how.Skipped)}}
	return c.do(ctx, http.MethodPost, "/finish?"+q.Encode(), nil)
}

// Abort returns when nothing is left of the move.
func (c *Client) Abort(ctx context.Context) error { return c.do(ctx, http.MethodPost, "/abort", nil) }

func (c *Client) do(ctx context.Context, method, path string, read func(io.Reader) error) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://move"+path, nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("the process of the move: %w", err)
	}
	defer answer.Body.Close()
	body := io.LimitReader(answer.Body, maxAnswer)
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(body) // what there is of it
		return errors.New(strings.TrimSpace(string(text)))
	}
	if read == nil {
		return nil
	}
	return read(body)
}
