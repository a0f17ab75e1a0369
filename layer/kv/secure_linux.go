package kv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usui/layer/kv/server"
)

// Bounds of connections by TLS: those that have not shown who they are yet, how long that may take, how long the last replies may
// take when the server has ended a connection, and what is copied at a time.
const (
	maxHandshakes = 128
	handshakeTime = 10 * time.Second
	farewellTime  = 5 * time.Second
	pipeBytes     = 8 << 10
	socketBytes   = 64 << 10
)

// TLS is what encrypted connections need.
type TLS struct {
	Listen            string // address; empty for no TLS
	Certificate, Key  string // files in PEM
	ClientAuthorities string // file in PEM; if given, clients have to show a certificate that one of these signed
}

func (c TLS) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.ClientAuthorities == "" {
		return cfg, nil
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.ClientCAs, err = authorities(c.ClientAuthorities)
	return cfg, err
}

// authorities reads the certificates in a file.
func authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in it", path)
	}
	return pool, nil
}

// secure serves clients by TLS. The server knows descriptors only, so it gets one end of a pair of sockets; two goroutines carry what a
// client and the other end say.
type secure struct {
	listener net.Listener
	cfg      *tls.Config
	attach   func(fd int, from server.Origin) error
	log      *slog.Logger

	running sync.WaitGroup     // all goroutines
	stop    context.CancelFunc // ends connections and handshakes
}

func newSecure(c TLS, attach func(int, server.Origin) error, log *slog.Logger) (*secure, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &secure{listener: l, cfg: cfg, attach: attach, log: log, stop: stop}
	s.running.Go(func() { s.accept(ctx) })
	return s, nil
}

// accept ends when the listener is closed. Connections for whose handshake there is no room wait in the kernel.
func (s *secure) accept(ctx context.Context) {
	room := make(chan struct{}, maxHandshakes)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // for want of descriptors, or a client that is gone
			s.log.Debug("a connection by TLS was not accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond): // else it would spin
			case <-ctx.Done():
			}
			<-room
			continue
		}
		s.running.Go(func() { // ends with the connection
			s.serve(ctx, tls.Server(c, s.cfg), func() { <-room })
		})
	}
}

// serve carries one connection; shaken is called when the handshake is over.
func (s *secure) serve(ctx context.Context, c *tls.Conn, shaken func()) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.NetConn().Close() })()
	soon, cancel := context.WithTimeout(ctx, handshakeTime)
	err := c.HandshakeContext(soon)
	cancel()
	shaken()
	if err != nil {
		s.log.Debug("a handshake failed", "addr", c.RemoteAddr().String(), "error", err)
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.log.Warn("a connection by TLS found no descriptors", "error", err)
		return
	}
	for _, fd := range pair {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBytes) // less memory for slow readers, or as much as by default
	}
	file := os.NewFile(uintptr(pair[0]), "tls")
	inner, err := net.FileConn(file)
	file.Close()
	if err != nil {
		_ = unix.Close(pair[1]) // it was never used
		return
	}
	defer inner.Close()
	from := server.Origin{Peer: c.RemoteAddr().String(), Here: c.LocalAddr().String(), Gone: func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // what the client says is of no use; fails only if it is gone
		_ = c.SetWriteDeadline(time.Now().Add(farewellTime))
	}}
	if err := s.attach(pair[1], from); err != nil && !errors.Is(err, server.ErrRefused) {
		return // the server has ended
	}
	s.carry(c, inner.(*net.UnixConn))
}

// carry copies in both directions until both have ended.
func (s *secure) carry(c *tls.Conn, inner *net.UnixConn) {
	var both sync.WaitGroup
	both.Go(func() { // ends when the client has nothing more to say, or at the end of the connection
		pipe(inner, c)
		_ = inner.CloseWrite() // fails if the server has closed its end
	})
	pipe(c, inner)
	_ = c.CloseWrite() // the client may be gone
	c.NetConn().Close()
	both.Wait()
}

// pipe copies with a small buffer, for there are many of them.
func pipe(to io.Writer, from io.Reader) {
	p := make([]byte, pipeBytes)
	for {
		n, err := from.Read(p)
		if n > 0 {
			if _, err := to.Write(p[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// close ends all connections and waits for their goroutines.
func (s *secure) close() {
	s.stop()
	s.listener.Close()
	s.running.Wait()
}
