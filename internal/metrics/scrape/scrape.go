package scrape

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"usui/internal/metrics"
)

// Bounds of what a client may do to a server. Requests are small, and answers are made at once.
const (
	MaxHeader      = 16 << 10
	MaxConnections = 64

	requestTime = 10 * time.Second
)

// path returns the path of a Unix socket, if the address is one: it has a slash in it, or unix: before it.
func path(address string) (string, bool) {
	p, unix := strings.CutPrefix(address, "unix:")
	return p, unix || strings.Contains(address, "/")
}

// Check says what is wrong with an address that a user wrote.
func Check(address string) error {
	p, unix := path(address)
	if unix && p != "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil || unix {
		return fmt.Errorf("%q: write HOST:PORT, such as 127.0.0.1:9100, or a path with a slash in it", address)
	}
	return nil
}

// Listen listens at an address that [Check] found right.
func Listen(address string) (net.Listener, error) {
	p, unix := path(address)
	if !unix {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", p)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; remove the file if nobody listens there any more", err)
	}
	return l, err
}

// Serve answers on l until the server is closed.
func Serve(l net.Listener, h http.Handler, log *slog.Logger) *http.Server {
	var open atomic.Int32
	s := &http.Server{
		Handler: h, MaxHeaderBytes: MaxHeader, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: requestTime,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients' faults are theirs
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if open.Add(1) > MaxConnections {
					c.Close()
				}
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
	}
	go func() { // ends by Close
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("a socket answers no more", "address", l.Addr().String(), "error", err)
		}
	}()
	return s
}

// Answer writes metrics as Prometheus' text.
func Answer(w http.ResponseWriter, s *metrics.Set) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = s.WriteTo(w) // a scraper that has gone
}
