package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"usui/internal/metrics"
	"usui/internal/metrics/scrape"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/server"
)

// Config is what a store is served with.
type Config struct {
	Listen       string // addresses, as in ":6379" and "unix:/run/kv.sock", with commas between them
	TLS          TLS
	Bypass       Bypass
	Metrics      string // address at which Prometheus is answered; empty for none
	Folder       disk.Folder
	SegmentBytes int // of a new store; 0 is engine.DefaultSegment
	Password     string
	Clients      int // 0 is server.DefaultClients
	ClientMemory int // 0 is server.DefaultClientMemory
	Loops        int // that serve the clients, each with a shard of the keys; 0 is one
	Version      string
	Logger       *slog.Logger
	Progress     func(done, total int64) // called while the log is read
}

// Store is a server with its store.
type Store struct {
	server    *server.Server
	listeners []listener
	secure    *secure      // nil without TLS
	bypass    *bypass      // nil without
	scraped   *http.Server // nil without metrics
	metrics   string       // its address
	syncs     metrics.Histogram
}

// New reads the log and listens. The folder becomes the store's.
func New(cfg Config) (_ *Store, err error) {
	s := &Store{}
	var device *frames
	bind := func() error { return nil }
	if cfg.Bypass.Device != nil {
		if cfg.Bypass.Interface == "" {
			return nil, errors.Join(errors.New("a device is for a bypass: values stay in the frames in which they come"), cfg.Folder.Close())
		}
		if device, bind, err = newFrames(cfg.Bypass.Device, cfg.Folder); err != nil {
			return nil, errors.Join(fmt.Errorf("the device: %w", err), cfg.Folder.Close())
		}
	}
	if s.listeners, err = listenAll(cfg.Listen); err != nil {
		return nil, errors.Join(err, cfg.Folder.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var fds []int
	for _, l := range s.listeners {
		fds = append(fds, l.fd)
	}
	s.server, err = server.New(server.Config{
		Listeners: fds,
		Open: func(o engine.Options) (*engine.Store, error) {
			o.SegmentBytes, o.Progress = cfg.SegmentBytes, cfg.Progress
			if device != nil {
				o.Device = device
			}
			store, err := engine.Open(observed{cfg.Folder, &s.syncs}, o)
			if err != nil {
				return nil, err
			}
			if err := bind(); err != nil {
				return nil, errors.Join(fmt.Errorf("the device: %w", err), store.Close())
			}
			return store, nil
		},
		Password: cfg.Password, Clients: cfg.Clients, ClientMemory: cfg.ClientMemory, Loops: cfg.Loops,
		Version: cfg.Version, Logger: cfg.Logger, Bypass: s.openBypass(cfg, device),
	})
	if err != nil {
		return nil, err
	}
	if cfg.TLS.Listen != "" {
		if s.secure, err = newSecure(cfg.TLS, s.server.Attach, cfg.Logger); err != nil {
			return nil, err
		}
	}
	if cfg.Metrics != "" {
		l, err := scrape.Listen(cfg.Metrics)
		if err != nil {
			return nil, err
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /metrics", s.serveMetrics)
		s.scraped, s.metrics = scrape.Serve(l, mux, cfg.Logger), l.Addr().String()
	}
	return s, nil
}

// openBypass returns what makes the bypass once the log has been read: by then it is known which frames hold values. It is nil for no bypass.
func (s *Store) openBypass(cfg Config, device *frames) func() (*server.Bypass, error) {
	if cfg.Bypass.Interface == "" {
		return nil
	}
	return func() (_ *server.Bypass, err error) {
		if s.bypass, err = openBypass(cfg.Bypass, cmp.Or(cfg.Clients, server.DefaultClients), device); err != nil {
			return nil, err
		}
		return &s.bypass.Bypass, nil
	}
}

// Address is where it listens, at several places with commas between them.
func (s *Store) Address() string {
	var all []string
	for _, l := range s.listeners {
		all = append(all, l.address)
	}
	return strings.Join(all, ",")
}

// SecureAddress is where it listens for TLS, empty if it does not.
func (s *Store) SecureAddress() string {
	if s.secure == nil {
		return ""
	}
	return s.secure.listener.Addr().String()
}

// BypassAddress is where it listens past the kernel's network stack, and how frames come there; empty if it does not.
func (s *Store) BypassAddress() string {
	if s.bypass == nil {
		return ""
	}
	return s.bypass.String()
}

// MetricsAddress is where Prometheus is answered, empty if it is not.
func (s *Store) MetricsAddress() string { return s.metrics }

// Run serves until ctx ends.
func (s *Store) Run(ctx context.Context) error { return s.server.Run(ctx) }

// Close ends all connections and gives everything back.
func (s *Store) Close() error {
	if s.scraped != nil {
		s.scraped.Close() // its clients' errors are of no use
	}
	var err error
	if s.server != nil {
		err = s.server.Close()
	}
	if s.secure != nil {
		s.secure.close()
	}
	for _, l := range s.listeners {
		l.remove()
	}
	return errors.Join(err, s.bypass.close())
}

// check verifies every record in a folder, and the checkpoint, and says what it found.
func check(path string) (string, error) {
	folder, err := disk.Open(path, engine.IsOurs, disk.Ordinary)
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
