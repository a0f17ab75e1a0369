package fsmove

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usui/host/need"
	"usui/layer/fsmove/control"
)

// client does one command after the other, as sftp(1) and smbclient(1) call them, in one session with a file server: get, put, rename, rm and mkdir. Local names are paths. An error of any is an error.
type client func(commands []string) error

// TestAnExportIsMoved has file servers export the mount, and their clients read, write, rename and remove what has not arrived, what is arriving and what has, while the process that serves the mount is killed.
func TestAnExportIsMoved(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(t *testing.T, dir string) (do client, stop func())
	}{
		{"samba", serveSamba},
		{"sftp", serveSFTP},
		{"nginx", serveNginx},
		{"ganesha", serveGanesha},
	} {
		t.Run(tt.name, func(t *testing.T) { moveExport(t, tt.serve) })
	}
}

func moveExport(t *testing.T, serve func(t *testing.T, dir string) (client, func())) {
	const kills, users = 6, 3
	src, dst, at := paths(t)
	all := newShared(sow(t, src, 600, 100_000))
	v := startKept(t, src, dst, at)
	c, _ := v.ask(t)
	if err := c.Pause(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	do, stop := serve(t, at)
	var clients sync.WaitGroup
	var over atomic.Bool
	steps := make(chan struct{}) // a client has done something
	for i := range users {
		u := &user{do: do, all: all, folder: fmt.Sprint("client", i), local: t.TempDir()}
		clients.Go(func() { // until all kills are done
			for round := 0; !over.Load(); round++ {
				if err := u.round(round); err != nil {
					t.Errorf("%s in round %d: %v", u.folder, round, err)
					return
				}
				select {
				case steps <- struct{}{}:
				default: // nobody waits for that
				}
			}
		})
	}
	idle := make(chan struct{})
	go func() { clients.Wait(); close(idle) }() // until they end
	for i := range kills {
		select {
		case <-steps:
		case <-idle:
			t.FailNow()
		}
		if i == kills/2 { // from here on the rest comes, too
			c, _ = v.ask(t)
			if err := c.Pause(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		forgetAll(t) // of which servers have handles
		v.kill(t)
	}
	over.Store(true)
	<-idle
	v.awaitAll(t)
	c, _ = v.ask(t)
	if err := c.Finish(t.Context(), control.Consent{Verify: control.None}); err != nil {
		t.Fatal(err)
	}
	u := &user{do: do, all: all, folder: "afterwards", local: t.TempDir()}
	if err := u.round(0); err != nil { // by the server that had exported the mount
		t.Errorf("after the end: %v", err)
	}
	stop() // until then it may have the mount open, wherever that is
	if err := <-v.ended; err != nil {
		t.Errorf("the keeper: %v", err)
	}
	if isFUSE(t, at) {
		t.Error("at the end it is a mount of FUSE")
	}
	look(t, at, all.content)
	look(t, dst, all.content)
}

// shared is what clients expect of files that several of them use.
type shared struct {
	mu      sync.Mutex
	fresh   []string          // guarded by mu; nobody has changed them
	content map[string][]byte // guarded by mu
}

func newShared(content map[string][]byte) *shared {
	s := &shared{content: content}
	for name := range content {
		s.fresh = append(s.fresh, name)
	}
	return s
}

// take is a file for one client alone.
func (s *shared) take() (name string, want []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fresh) == 0 {
		return "", nil, errors.New("there are not enough files")
	}
	name, s.fresh = s.fresh[0], s.fresh[1:]
	return name, s.content[name], nil
}

// set says what a file has from now on; nil that it is gone.
func (s *shared) set(name string, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content[name] = p; p == nil {
		delete(s.content, name)
	}
}

// user uses a file server.
type user struct {
	do     client
	all    *shared
	folder string // of its own
	local  string // likewise, not on the server
}

// round is a session. It reads four files that others leave alone, renames one of them, removes one and writes to one, and makes one.
func (u *user) round(n int) error {
	var commands []string
	if n == 0 {
		commands = append(commands, "mkdir "+u.folder)
	}
	local := func(name string) string { return filepath.Join(u.local, name) }
	made := fmt.Append(nil, u.folder, " in round ", n)
	if err := os.WriteFile(local("made"), made, 0o644); err != nil {
		return err
	}
	got := map[string][]byte{local("again"): made}
	var names []string
	for i := range 4 {
		name, want, err := u.all.take()
		if err != nil {
			return err
		}
		names = append(names, name)
		got[local(fmt.Sprint("got", i))] = want
		commands = append(commands, fmt.Sprintf("get %s %s", name, local(fmt.Sprint("got", i))))
		if i == 0 {
			u.all.set(name, nil)
			u.all.set(fmt.Sprintf("%s/moved%d", u.folder, n), want)
		}
	}
	u.all.set(names[1], nil)
	u.all.set(names[2], made)
	u.all.set(fmt.Sprintf("%s/last%d", u.folder, n), made)
	commands = append(commands,
		fmt.Sprintf("rename %s %s/moved%d", names[0], u.folder, n),
		"rm "+names[1],
		fmt.Sprintf("put %s %s", local("made"), names[2]),
		fmt.Sprintf("put %s %s/made", local("made"), u.folder),
		fmt.Sprintf("get %s/made %s", u.folder, local("again")),
		fmt.Sprintf("rename %s/made %s/last%d", u.folder, u.folder, n),
	)
	if err := u.do(commands); err != nil {
		return err
	}
	for path, want := range got {
		if p, err := os.ReadFile(path); err != nil || !bytes.Equal(p, want) {
			return fmt.Errorf("%s has %d bytes, want %d, %w", path, len(p), len(want), err)
		}
	}
	return nil
}

// serveSFTP has each session start a server of its own, as sshd does.
func serveSFTP(t *testing.T, dir string) (client, func()) {
	sftp := need.Tool(t, "sftp", "openssh-client")
	server := need.Tool(t, "sftp-server", "openssh-sftp-server")
	return func(commands []string) error {
		c := exec.Command(sftp, "-b", "-", "-D", server+" -d "+dir)
		c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
		if out, err := c.CombinedOutput(); err != nil { // the first error ends it
			return fmt.Errorf("sftp: %w, %s", err, out)
		}
		return nil
	}, func() {}
}

// startSamba has all of Samba's own files in a folder of the test.
func startSamba(t *testing.T, dir string) (conf, port string, stop func()) {
	t.Helper()
	smbd, own := need.Tool(t, "smbd", "samba"), t.TempDir()
	conf, port = filepath.Join(own, "smb.conf"), freePort(t)
	var text strings.Builder
	fmt.Fprintf(&text, "[global]\nserver role = standalone\nmap to guest = bad user\nguest account = root\nload printers = no\ndisable spoolss = yes\ninterfaces = lo\nbind interfaces only = yes\n")
	for _, folder := range []string{"private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir"} {
		path := filepath.Join(own, strings.ReplaceAll(folder, " ", "-"))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s = %s\n", folder, path)
	}
	fmt.Fprintf(&text, "[moved]\npath = %s\nguest ok = yes\nguest only = yes\nwritable = yes\nforce user = root\nvfs objects = acl_xattr streams_xattr\n", dir)
	if err := os.WriteFile(conf, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return conf, port, start(t, port, smbd, "-F", "--no-process-group", "-p", port, "-s", conf, "--debug-stdout", "-d0")
}

func serveSamba(t *testing.T, dir string) (client, func()) {
	smbclient := need.Tool(t, "smbclient", "smbclient")
	conf, port, stop := startSamba(t, dir)
	return func(commands []string) error {

		c := exec.Command(smbclient, "-s", conf, "-p", port, "//127.0.0.1/moved", "-U", "nobody%none", "-c", strings.Join(commands, ";"))
		out, err := c.CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("NT_STATUS")) { // its status is that of the last command
			return fmt.Errorf("smbclient: %w, %s", err, out)
		}
		return nil
	}, stop
}

// freePort is a TCP port of the loopback that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start starts a server and waits until it listens. It ends when stop is called, or with the test.
func start(t *testing.T, port string, command ...string) (stop func()) {
	t.Helper()
	var said bytes.Buffer
	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr, c.WaitDelay = &said, &said, 10*time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }() // until the server ends
	stop = sync.OnceFunc(func() {
		_ = c.Process.Signal(os.Interrupt) // an error says that it has ended
		<-ended
	})
	t.Cleanup(stop)
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return stop
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v, %s", command[0], err, said.Bytes())
		case <-time.After(20 * time.Millisecond): // until it is asked again
		}
	}
}

// serveNginx has it do what WebDAV calls a class 1 server, which takes what is put, moved and deleted.
func serveNginx(t *testing.T, dir string) (client, func()) {
	nginx := need.Tool(t, "nginx", "nginx-light")
	own, port := t.TempDir(), freePort(t)
	conf := filepath.Join(own, "nginx.conf")
	text := fmt.Sprintf(`daemon off; user root; worker_processes 2; pid %[1]s/pid; error_log stderr error;
events {}
http {
	access_log off; sendfile on; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen 127.0.0.1:%[2]s; root %[3]s; dav_methods PUT DELETE MKCOL MOVE; }
}
`, own, port, dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := start(t, port, nginx, "-e", "stderr", "-p", own, "-c", conf)
	base := "http://127.0.0.1:" + port + "/"
	return func(commands []string) error {
		for _, command := range commands {
			if err := webDAV(base, strings.Fields(command)); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		}
		return nil
	}, stop
}

// startGanesha exports a folder by NFSv4, by file handles, to clients whose root is the server's, or nobody there.
func startGanesha(t *testing.T, dir, squash string) (port string, stop func()) {
	t.Helper()
	ganesha, own := need.Tool(t, "ganesha.nfsd", "nfs-ganesha"), t.TempDir()
	conf, port := filepath.Join(own, "ganesha.conf"), freePort(t)
	text := fmt.Sprintf(`NFS_CORE_PARAM { Protocols = 4; NFS_Port = %[2]s; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Graceless = true; RecoveryRoot = %[1]s; }
EXPORT { Export_Id = 1; Path = %[3]s; Pseudo = /moved; Access_Type = RW; Squash = %[4]s; SecType = sys; Transports = TCP; FSAL { Name = VFS; } }
`, own, port, dir, squash)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(own, "log")); t.Failed() {
			t.Logf("%s, %v", log, err)
		}
	})
	return port, start(t, port, ganesha, "-F", "-f", conf, "-p", filepath.Join(own, "pid"), "-L", filepath.Join(own, "log"), "-N", "EVENT")
}

func serveGanesha(t *testing.T, dir string) (client, func()) {
	python := need.Tool(t, "python3", "python3")
	need.Tool(t, "nfs-ls", "libnfs-utils") // which brings the library
	port, stop := startGanesha(t, dir, "None")
	return func(commands []string) error {
		c := exec.Command(python, "testdata/nfs.py", "nfs://127.0.0.1/moved?version=4&nfsport="+port)
		c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nfs.py: %w, %s", err, out)
		}
		return nil
	}, stop
}

// webDAV does one command.
func webDAV(base string, words []string) error {
	var body io.Reader
	method, name, local, header := "", words[1], "", http.Header{}
	switch words[0] {
	case "get":
		method, local = http.MethodGet, words[2]
	case "put":
		p, err := os.ReadFile(words[1])
		if err != nil {
			return err
		}
		method, name, body = http.MethodPut, words[2], bytes.NewReader(p)
	case "rename":
		method = "MOVE"
		header.Set("Destination", base+words[2])
	case "rm":
		method = http.MethodDelete
	case "mkdir":
		method, name = "MKCOL", name+"/"
	}
	r, err := http.NewRequest(method, base+name, body)
	if err != nil {
		return err
	}
	r.Header = header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		return fmt.Errorf("%s, %w, %s", answer.Status, err, got)
	}
	if local == "" {
		return nil
	}
	return os.WriteFile(local, got, 0o644)
}
