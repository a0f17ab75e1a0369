package kv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"usui/host/need"
	"usui/layer/kv/disktest"
)

// authority signs certificates into a folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca", nil)
	return a
}

// issue makes NAME.crt and NAME.key, signed by the authority, or, if change is nil, of the authority itself.
func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	if change == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		a.cert, a.key = c, key
	} else {
		c.KeyUsage = x509.KeyUsageDigitalSignature
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == c {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.path(name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) path(file string) string { return a.dir + "/" + file }

// server issues the server's certificate and returns the options that name it.
func (a *authority) server(t *testing.T) TLS {
	a.issue(t, "server", func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses, c.ExtKeyUsage = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	return TLS{Listen: "127.0.0.1:0", Certificate: a.path("server.crt"), Key: a.path("server.key")}
}

// client is what a client needs that trusts the authority, and shows a certificate if it has one.
func (a *authority) client(t *testing.T, certificate string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(a.cert)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(a.path(certificate+".crt"), a.path(certificate+".key"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// serveSecure serves with TLS and returns the addresses.
func serveSecure(t *testing.T, c TLS, change func(*Config)) (plain, secured string, stop func()) {
	t.Helper()
	folder := disktest.New()
	var s *Store
	plain, stop = serveStore(t, folder, func(cfg *Config) {
		cfg.TLS = c
		if change != nil {
			change(cfg)
		}
	}, &s)
	return plain, s.SecureAddress(), stop
}

func dialTLS(t *testing.T, address string, cfg *tls.Config) *peer {
	t.Helper()
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newPeer(c)
}

func TestClientsByTLS(t *testing.T) {
	a := newAuthority(t)
	plain, secured, _ := serveSecure(t, a.server(t), nil)
	admin, p := connect(t, plain), dialTLS(t, secured, a.client(t, ""))
	big := strings.Repeat("x", 200_000)
	p.must(t, "set", "k", big)
	go func() { // ends when all is read
		for range 50 {
			p.Write(encode("get", "k"))
		}
	}()
	for i := range 50 {
		if r, err := p.reply(); err != nil || !strings.Contains(r, big) {
			t.Fatalf("reply %d has %d bytes, %v; want the value", i, len(r), err)
		}
	}
	if list := admin.must(t, "client", "list"); !strings.Contains(list, " addr="+p.LocalAddr().String()+" laddr="+secured+" ") {
		t.Errorf("CLIENT LIST lacks the peer's address %s: %s", p.LocalAddr(), list)
	}
	p.must(t, "subscribe", "c")
	admin.must(t, "publish", "c", "hello")
	if r, err := p.reply(); !strings.Contains(r, "hello") {
		t.Errorf("message = %q, %v", r, err)
	}
	if r, err := p.do("quit"); r != "+OK\r\n" {
		t.Errorf("QUIT = %q, %v; want OK before the end", r, err)
	}
	if r, err := p.reply(); err != io.EOF {
		t.Errorf("after QUIT: %q, %v; want an orderly end", r, err)
	}
	half := dialTLS(t, secured, a.client(t, ""))
	half.must(t, "ping")
	if err := half.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r, err := half.reply(); err != io.EOF {
		t.Errorf("a client that has nothing more to say gets %q, %v; want an orderly end", r, err)
	}
}

// TestSlowReadersByTLS has clients that do not read: they take little memory, and are gone when they are killed.
func TestSlowReadersByTLS(t *testing.T) {
	a := newAuthority(t)
	goroutines := runtime.NumGoroutine()
	plain, secured, stop := serveSecure(t, a.server(t), nil)
	admin, slow := connect(t, plain), dialTLS(t, secured, a.client(t, ""))
	admin.must(t, "set", "k", strings.Repeat("x", 100_000))
	sent := make(chan error, 1)
	go func() { // ends when the connection does
		for {
			if _, err := slow.Write(encode("get", "k")); err != nil {
				sent <- err
				return
			}
		}
	}()
	for range 200 {
		if got := admin.info(t, "client_memory"); got > 2<<20 {
			t.Fatalf("client_memory = %d while one client does not read, want at most 2 MiB", got)
		}
	}
	admin.must(t, "client", "kill", "addr", slow.LocalAddr().String())
	slow.Close()
	<-sent
	admin.Close()
	stop()
	for runtime.NumGoroutine() > goroutines { // one that has ended may still be counted
		runtime.Gosched()
	}
}

func TestHandshakesAreBounded(t *testing.T) {
	a := newAuthority(t)
	goroutines := runtime.NumGoroutine()
	_, secured, stop := serveSecure(t, a.server(t), nil)
	var silent []net.Conn
	for range 2 * maxHandshakes {
		c, err := net.Dial("tcp", secured)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 3*maxHandshakes {
		t.Errorf("%d goroutines for %d connections that say nothing, want at most 3 for each of %d", n, len(silent), maxHandshakes)
	}
	for _, c := range silent {
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") // is no TLS; fails if it is closed already
		c.Close()
	}
	p := dialTLS(t, secured, a.client(t, ""))
	p.must(t, "ping")
	waiting, err := net.Dial("tcp", secured)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	stop() // ends a handshake, too
	if r, err := p.reply(); err == nil {
		t.Errorf("after the server's end: %q", r)
	}
	for runtime.NumGoroutine() > goroutines {
		runtime.Gosched()
	}
}

func TestACertificateIsWanted(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	isClient := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	a.issue(t, "client", isClient)
	other.issue(t, "client", isClient)
	c := a.server(t)
	c.ClientAuthorities = a.path("ca.crt")
	_, secured, _ := serveSecure(t, c, func(c *Config) { c.Clients = 1 })
	stranger := a.client(t, "")
	stranger.Certificates = other.client(t, "client").Certificates
	for name, cfg := range map[string]*tls.Config{"no certificate": a.client(t, ""), "a stranger's": stranger} {
		c, err := tls.Dial("tcp", secured, cfg)
		if err == nil { // TLS 1.3 tells at the first read
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || err == io.EOF {
			t.Errorf("a client with %s: %v, want it refused", name, err)
		}
	}
	dialTLS(t, secured, a.client(t, "client")).must(t, "ping")
	if r, err := dialTLS(t, secured, a.client(t, "client")).reply(); r != "-ERR max number of clients reached\r\n" {
		t.Errorf("one client too many gets %q, %v; want to be sent away", r, err)
	}
}

func TestRedisCLIByTLS(t *testing.T) {
	cli := need.Tool(t, "redis-cli", "redis-tools")
	a := newAuthority(t)
	_, secured, _ := serveSecure(t, a.server(t), nil)
	if out, err := exec.Command(cli, "-p", portOf(secured), "--tls", "--cacert", a.path("ca.crt"), "set", "k", "v").CombinedOutput(); err != nil || string(out) != "OK\n" {
		t.Errorf("redis-cli --tls set k v = %q, %v; want OK", out, err)
	}
}

func TestWrongCertificatesAreNamed(t *testing.T) {
	a := newAuthority(t)
	good := a.server(t)
	if err := os.WriteFile(a.path("empty"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*TLS){
		"no such file":                     func(c *TLS) { c.Certificate = a.path("none") },
		"private key does not match":       func(c *TLS) { c.Key = a.path("ca.key") },
		"there is no certificate in it":    func(c *TLS) { c.ClientAuthorities = a.path("empty") },
		"find any PEM data in certificate": func(c *TLS) { c.Certificate = a.path("empty") },
	} {
		c := good
		change(&c)
		if s, err := New(Config{Listen: "127.0.0.1:0", TLS: c, Folder: disktest.New(), SegmentBytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, %v; want an error with %q", s, err, want)
		}
	}
}
