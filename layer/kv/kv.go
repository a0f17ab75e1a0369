package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/server"
)

// Config is what a store is served with.
type Config struct {
	Listen       string // address, as in ":6379"
	Folder       disk.Folder
	SegmentBytes int // of a new store; 0 is engine.DefaultSegment
	Password     string
	Clients      int // 0 is server.DefaultClients
	ClientMemory int // 0 is server.DefaultClientMemory
	Version      string
	Logger       *slog.Logger
	Progress     func(done, total int64) // called while the log is read
}

// Store is a server with its store.
type Store struct {
	server  *server.Server
	address string
}

// New reads the log and listens. The folder becomes the store's.
func New(cfg Config) (*Store, error) {
	fd, address, err := listen(cfg.Listen)
	if err != nil {
		return nil, errors.Join(err, cfg.Folder.Close())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := server.New(server.Config{
		Listener: fd,
		Open: func(o engine.Options) (*engine.Store, error) {
			o.SegmentBytes, o.Progress = cfg.SegmentBytes, cfg.Progress
			return engine.Open(cfg.Folder, o)
		},
		Password: cfg.Password, Clients: cfg.Clients, ClientMemory: cfg.ClientMemory,
		Version: cfg.Version, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Store{s, address}, nil
}

// Address is where it listens.
func (s *Store) Address() string { return s.address }

// Run serves until ctx ends.
func (s *Store) Run(ctx context.Context) error { return s.server.Run(ctx) }

// Close ends all connections and gives everything back.
func (s *Store) Close() error { return s.server.Close() }

// check verifies every record in a folder, and the checkpoint, and says what it found.
func check(path string) (string, error) {
	folder, err := disk.Open(path, engine.IsOurs)
	if err != nil {
		return "", err
	}
	r, err := engine.Check(folder, nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	found := fmt.Sprintf("%s: %d records, %d bytes, in %d segments check; %d segments are spare; %d end with a batch that was not acknowledged",
		path, r.Records, r.Bytes, r.Segments, r.Spare, r.Torn)
	switch {
	case r.Ignored != nil:
		found += fmt.Sprintf("; the checkpoint will be ignored: %v", r.Ignored)
	case r.Checkpoint > 0:
		found += fmt.Sprintf("; the checkpoint at record %d checks", r.Checkpoint)
	}
	return found, nil
}
