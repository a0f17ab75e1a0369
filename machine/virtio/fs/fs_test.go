package fs_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/host/vhostuser"
	"usui/host/vhostuser/vhostusertest"
	"usui/host/virtiofsd"
	"usui/machine/virtio"
	"usui/machine/virtio/fs"
	device "usui/machine/virtio/vhostuser"
	"usui/machine/virtio/virtiotest"
)

// folder is a folder that a real virtiofsd serves to a client in this process.
type folder struct {
	*client
	path   string
	server *virtiofsd.Server
	dev    *device.Device
	log    *bytes.Buffer // read when the device is stopped
}

// share starts virtiofsd.
func share(t *testing.T, readOnly bool) *folder {
	t.Helper()
	need.Root(t)
	need.Tool(t, "virtiofsd", "qemu-system-common")
	f := &folder{path: t.TempDir(), log: new(bytes.Buffer)}
	if err := os.WriteFile(filepath.Join(f.path, "hello"), []byte("hello from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.server, err = virtiofsd.Start(t.Context(), virtiofsd.Config{Folder: f.path, ReadOnly: readOnly}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.server.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("virtiofsd says: %s", f.server.Words())
		}
	})
	if f.dev, err = fs.New(fs.Config{Tag: "test", Client: f.server.Client, End: f.server.End, Log: slog.New(slog.NewTextHandler(f.log, nil))}); err != nil {
		t.Fatal(err)
	}
	features := uint64(virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc)
	f.client = &client{Driver: virtiotest.Start(t, f.dev, virtiotest.Config{Features: features, Size: 128}), t: t}
	return f
}

func TestVirtiofsdServesAFolder(t *testing.T) {
	f := share(t, false)
	for range 3 { // the last rounds are drivers that come again
		if err := f.init(); err != nil {
			t.Fatal(err)
		}
		if got, err := f.read("hello"); got != "hello from the host\n" || err != nil {
			t.Errorf("hello = %q, %v", got, err)
		}
		if _, err := f.lookup("nothing"); !errors.Is(err, unix.ENOENT) {
			t.Errorf("lookup of nothing = %v, want ENOENT", err)
		}
		f.Restart()
	}
	if err := f.init(); err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("from the guest ", 3000)
	if err := f.create("made", content); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(f.path, "made")); string(got) != content || err != nil {
		t.Errorf("the host finds %d bytes, %v; want %d", len(got), err, len(content))
	}
	f.Stop()
	if f.log.Len() != 0 || f.dev.Stats() != (device.Stats{Starts: 4}) {
		t.Errorf("log %q, Stats %+v", f.log, f.dev.Stats())
	}
}

// The guest asks politely for what it may not do; a hostile one would not be refused by itself.
func TestAReadOnlyFolderIsReadOnly(t *testing.T) {
	f := share(t, true)
	if err := f.init(); err != nil {
		t.Fatal(err)
	}
	if got, err := f.read("hello"); got != "hello from the host\n" || err != nil {
		t.Errorf("hello = %q, %v", got, err)
	}
	if err := f.create("made", "x"); !errors.Is(err, unix.EROFS) {
		t.Errorf("create = %v, want EROFS", err)
	}
	if entries, err := os.ReadDir(f.path); len(entries) != 1 || err != nil {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// virtiofsd is killed in the middle of a load. What it had taken and what comes fails; nothing waits for ever.
func TestVirtiofsdIsKilled(t *testing.T) {
	for range 5 {
		f := share(t, false)
		if err := f.init(); err != nil {
			t.Fatal(err)
		}
		for range 200 { // the indices go round
			f.must(opLookup, rootNode, le("hello\x00"), 128)
		}
		type asked struct {
			header, answer virtiotest.Buffer
			unique         uint64
		}
		pending := map[uint64]asked{}
		for i := range 30 {
			h, a := f.put(1, opLookup, rootNode, le("hello\x00"), 128)
			pending[f.unique] = asked{h, a, f.unique}
			f.put(0, opForget, 17, le(uint64(1)), 0)
			if i == 20 {
				f.server.End()
			}
		}
		served, refused := 0, 0
		for range 30 {
			if _, _, ok := f.Queues[1].Wait(); !ok {
				t.Fatalf("the device broke: %v", f.Broken())
			}
			if _, _, ok := f.Queues[0].Wait(); !ok {
				t.Fatalf("the device broke: %v", f.Broken())
			}
		}
		for _, p := range pending {
			_, err := f.answer(p.header, p.answer, p.unique, uint32(f.Bytes(p.header)[0]))
			switch {
			case err == nil:
				served++
			case errors.Is(err, unix.ENOTCONN):
				refused++
			default:
				t.Errorf("a request ends with %v", err)
			}
		}
		if refused < 9 {
			t.Errorf("%d requests are served and %d refused", served, refused)
		}
		f.Restart()
		if err := f.init(); !errors.Is(err, unix.ENOTCONN) {
			t.Errorf("a new driver gets %v, want ENOTCONN", err)
		}
		f.Stop()
		if n := strings.Count(f.log.String(), "\n"); n != 1 {
			t.Errorf("log of %d lines, want one:\n%s", n, f.log)
		}
	}
}

// A hostile driver may break its own virtiofsd. The device goes on without.
func TestADriverThatBreaksVirtiofsd(t *testing.T) {
	for name, do := range map[string]func(f *folder, q *virtiotest.Queue){
		"short request": func(f *folder, q *virtiotest.Queue) { q.Add(f.Out([]byte("short")), f.In(16)) },
		"outside": func(f *folder, q *virtiotest.Queue) {
			q.SetDescriptor(0, 1<<50, 40, 0, 0)
			q.PutAvailable(0)
			q.Publish()
		},
		"head": func(f *folder, q *virtiotest.Queue) { q.PutAvailable(9999); q.Publish() },
	} {
		t.Run(name, func(t *testing.T) {
			f := share(t, false)
			if err := f.init(); err != nil {
				t.Fatal(err)
			}
			do(f, f.Queues[1])
			select { // the one in C ends itself; the one in Rust may go on
			case <-f.server.Client.Lost():
			default:
				f.server.End()
			}
			f.Restart()
			if err := f.init(); !errors.Is(err, unix.ENOTCONN) {
				t.Errorf("init = %v, want ENOTCONN", err)
			}
		})
	}
}

func TestStopUnderLoad(t *testing.T) {
	f := share(t, false)
	for range 10 {
		if err := f.init(); err != nil {
			t.Fatal(err)
		}
		var answers []virtiotest.Buffer
		for range 30 {
			h, a := f.put(1, opLookup, rootNode, le("hello\x00"), 128)
			answers = append(answers, h, a)
		}
		f.dev.Stop()
		for _, a := range answers {
			clear(f.Bytes(a))
		}
		f.Queues[1].Kick()
		runtime.Gosched()
		for _, a := range answers {
			if !bytes.Equal(f.Bytes(a), make([]byte, a.Len)) {
				t.Fatal("guest memory changes after Stop")
			}
		}
		f.Restart()
	}
	if f.Stop(); f.log.Len() != 0 {
		t.Errorf("log: %s", f.log)
	}
}

// idle is a device with a back end that serves nothing, and the way to end that.
func idle(t *testing.T) (*device.Device, func()) {
	t.Helper()
	b := &vhostusertest.Backend{Features: vhostusertest.Usual, ProtocolFeatures: vhostuser.ProtocolReplyAck}
	c, err := vhostuser.New(vhostuser.Config{Conn: b.Start(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d, err := fs.New(fs.Config{Tag: "orphan", Client: c})
	if err != nil {
		t.Fatal(err)
	}
	return d, func() {
		b.Die()
		<-c.Lost()
	}
}

// orphan is a device whose back end is gone before it began.
func orphan(t *testing.T) *device.Device {
	t.Helper()
	d, die := idle(t)
	die()
	return d
}

func TestRefusalsFitTheirRequest(t *testing.T) {
	c := &client{Driver: virtiotest.Start(t, orphan(t), virtiotest.Config{}), t: t}
	if _, err := c.call(opLookup, rootNode, le("x\x00"), 128); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("lookup = %v, want ENOTCONN", err)
	}
	q := c.Queues[1]
	for name, tt := range map[string]struct {
		out  []int // sizes of the buffers
		in   []int
		want uint32
	}{
		"no question":    {nil, []int{64}, 0},
		"half a header":  {[]int{15}, []int{64}, 0},
		"no room":        {[]int{40}, []int{15}, 0},
		"in many pieces": {[]int{3, 1, 36}, []int{5, 1, 10, 4}, 16},
		"no answer":      {[]int{48}, nil, 0},
	} {
		var bufs []virtiotest.Buffer
		for _, n := range tt.out {
			bufs = append(bufs, c.Out(bytes.Repeat([]byte{7}, n)))
		}
		for _, n := range tt.in {
			bufs = append(bufs, c.In(n))
		}
		q.Add(bufs...)
		_, n, ok := q.Wait()
		if !ok || n != tt.want {
			t.Errorf("%s: %d bytes, ok %v; want %d", name, n, ok, tt.want)
		}
		var answer []byte
		for _, b := range bufs[len(tt.out):] {
			answer = append(answer, c.Bytes(b)...)
		}
		if rest := answer[min(int(tt.want), len(answer)):]; len(bytes.Trim(rest, "\xcc")) != 0 {
			t.Errorf("%s: written beyond %d bytes: %x", name, tt.want, answer)
		}
	}
}

func TestDescription(t *testing.T) {
	d := orphan(t)
	p := make([]byte, 44)
	d.ReadConfig(p, 0)
	want := append([]byte("orphan"), make([]byte, 38)...)
	want[36] = 1
	if !bytes.Equal(p, want) || d.ID() != 26 || d.Features() != 0 || len(d.QueueSizes()) != 2 {
		t.Errorf("configuration %q, ID %d, features %#x, %d queues", p, d.ID(), d.Features(), len(d.QueueSizes()))
	}
	for _, tag := range []string{"", strings.Repeat("x", 37), "a\x00b"} {
		if _, err := fs.New(fs.Config{Tag: tag}); err == nil || !strings.Contains(err.Error(), "must have 1 to 36 bytes") {
			t.Errorf("New with the tag %q = %v", tag, err)
		}
	}
}

// FuzzDriver lets bytes choose what a driver does to a device before and after its back end is gone. The device must survive and must stop.
func FuzzDriver(f *testing.F) {
	script := []byte{0, 0, 2, 1, 40, 40, 0, 0, 0, 0, 0, 26, 0, 0, 250, 0, 221, 9}
	f.Add([]byte{}, script)
	f.Add(script, script)
	f.Fuzz(func(t *testing.T, before, after []byte) {
		d, die := idle(t)
		g := virtiotest.Start(t, d, virtiotest.Config{Features: virtio.FeatureEventIdx | virtio.FeatureIndirectDesc})
		virtiotest.Script(g, before)
		die()
		virtiotest.Script(g, after)
		g.Stop()
	})
}
