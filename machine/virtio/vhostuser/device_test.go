package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	protocol "usui/host/vhostuser"
	"usui/host/vhostuser/vhostusertest"
	"usui/machine/guestmem"
	"usui/machine/virtio"
	"usui/machine/virtio/vhostuser"
	"usui/machine/virtio/virtiotest"
)

// refusal is the bit that an answer has when the device itself gave it.
const refusal = 1 << 63

// rig is a device whose requests are numbers of 8 bytes and whose answers repeat them, with a back end in this process.
type rig struct {
	*testing.T
	back   *vhostusertest.Backend
	client *protocol.Client
	dev    *spy
	log    bytes.Buffer // read when the device is stopped
	ended  atomic.Int64 // calls of End

	mu      sync.Mutex
	servers map[int]*server // guarded by mu
	silent  bool            // guarded by mu: servers take requests and answer none
	taken   chan struct{}   // one for each request that a silent server took
}

// spy is the device under test; it sees the memory that the driver's queues are in.
type spy struct {
	*vhostuser.Device
	avail uint64 // address of the available ring of queue 0

	mu  sync.Mutex
	mem *guestmem.Memory // guarded by mu
}

func (s *spy) Start(features uint64, queues []*virtio.Queue) error {
	for _, q := range slices.Backward(queues) {
		if q != nil {
			s.avail = q.Ring().Avail
			s.mu.Lock()
			s.mem = q.Ring().Memory
			s.mu.Unlock()
		}
	}
	return s.Device.Start(features, queues)
}

// newRig makes a rig of two queues. change, if not nil, alters what the device is made from.
func newRig(t *testing.T, change func(*vhostuser.Config, *vhostusertest.Backend)) *rig {
	t.Helper()
	r := &rig{T: t, servers: map[int]*server{}, taken: make(chan struct{}, 1000)}
	r.back = &vhostusertest.Backend{Features: vhostusertest.Usual, ProtocolFeatures: protocol.ProtocolMQ | protocol.ProtocolReplyAck, Queues: 2}
	r.back.Started, r.back.Stopped = r.started, r.stopped
	r.dev = &spy{}
	cfg := vhostuser.Config{
		Name: "test", ID: 26, QueueSizes: []uint16{64, 64}, Space: []byte("space"),
		Refuse: refuse, Open: open, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		End: func() { r.ended.Add(1); r.die() },
	}
	if change != nil {
		change(&cfg, r.back)
	}
	timeout := time.Duration(0)
	if len(r.back.Mistakes) > 0 {
		timeout = 20 * time.Millisecond // the back end will not answer, however long
	}
	var err error
	if r.client, err = protocol.New(protocol.Config{Conn: r.back.Start(t), Timeout: timeout}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.client.Close() })
	cfg.Client = r.client
	d, err := vhostuser.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.dev.Device = d
	return r
}

// die ends the back end with all that serves queues in it, as the end of a process would.
func (r *rig) die() {
	r.back.Die()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range r.servers {
		s.end()
		delete(r.servers, i)
	}
}

func (r *rig) started(given vhostusertest.Ring) {
	r.dev.mu.Lock()
	mem := r.dev.mem
	r.dev.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &server{kick: given.KickFile, stop: make(chan struct{}), taken: r.taken, silent: r.silent}
	cfg := virtio.QueueConfig{Memory: mem, Size: given.Size, Features: r.back.Accepted()}
	for user, guest := range map[uint64]*uint64{given.Desc: &cfg.Desc, given.Avail: &cfg.Avail, given.Used: &cfg.Used} {
		var ok bool
		if *guest, ok = r.back.Guest(user); !ok {
			r.Errorf("%#x is in no region", user)
			return
		}
	}
	if given.CallFile != nil {
		call := int(given.CallFile.Fd())
		cfg.Interrupt = func() { unix.Write(call, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }
	}
	var err error
	if s.queue, err = virtio.NewQueue(cfg); err != nil {
		r.Error(err)
		return
	}
	r.servers[given.Index] = s
	s.running.Go(s.serve) // ended by stopped or die
}

func (r *rig) stopped(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.servers[i]; s != nil {
		s.end()
		delete(r.servers, i)
	}
}

// server serves a queue in the back end.
type server struct {
	kick    *os.File
	queue   *virtio.Queue
	silent  bool
	taken   chan struct{}
	stop    chan struct{}
	running sync.WaitGroup
}

func (s *server) end() {
	close(s.stop)
	_ = s.kick.SetReadDeadline(time.Unix(1, 0)) // fails when the file is closed, which ends the read as well
	s.running.Wait()
}

func (s *server) serve() {
	var c virtio.Chain
	var count [8]byte
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		ok, err := s.queue.Pop(&c)
		switch {
		case err != nil:
			return
		case !ok:
			if s.queue.Arm() {
				continue
			}
			if _, err := s.kick.Read(count[:]); err != nil {
				return
			}
		case s.silent:
			s.taken <- struct{}{}
		default:
			copy(c.In[0], c.Out[0])
			s.queue.Push(c.Head, 8)
			s.queue.Notify()
		}
	}
}

func refuse(_ int, c *virtio.Chain) uint32 {
	if c.OutLen < 8 || c.InLen < 8 || len(c.Out[0]) < 8 || len(c.In[0]) < 8 {
		return 0
	}
	binary.LittleEndian.PutUint64(c.In[0], binary.LittleEndian.Uint64(c.Out[0])|refusal)
	return 8
}

func open(c *virtio.Chain) bool {
	return len(c.Out) == 1 && len(c.In) == 1 && len(c.Out[0]) == 8 && len(c.In[0]) == 8 && string(c.Out[0]) != string(c.In[0])
}

// driver is the guest's side.
type driver struct {
	*virtiotest.Driver
	t      *testing.T
	number uint64
}

func (r *rig) drive(c virtiotest.Config) *driver {
	r.Helper()
	return &driver{virtiotest.Start(r.T, r.dev, c), r.T, 1 << 32}
}

// ask makes a request available and returns its buffers.
func (d *driver) ask(i int) (question, answer virtiotest.Buffer) {
	d.number++
	question, answer = d.Out(binary.LittleEndian.AppendUint64(nil, d.number)), d.In(8)
	d.Queues[i].Add(question, answer)
	return question, answer
}

// call waits for the answer to one request and says whether it was refused.
func (d *driver) call(i int) (refused bool) {
	d.t.Helper()
	_, answer := d.ask(i)
	if _, n, ok := d.Queues[i].Wait(); !ok || n != 8 {
		d.t.Fatalf("queue %d: %d bytes, ok %v, broken %v", i, n, ok, d.Broken())
	}
	return d.refused(answer, d.number)
}

// refused checks an answer.
func (d *driver) refused(answer virtiotest.Buffer, number uint64) bool {
	d.t.Helper()
	got := binary.LittleEndian.Uint64(d.Bytes(answer))
	if got&^uint64(refusal) != number {
		d.t.Fatalf("answer %#x to %#x", got, number)
	}
	return got&refusal != 0
}

var ringFeatures = map[string]uint64{"plain": 0, "event idx": virtio.FeatureEventIdx | virtio.FeatureIndirectDesc}

func TestTheBackEndServes(t *testing.T) {
	for name, features := range ringFeatures {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			d := r.drive(virtiotest.Config{Features: features | virtio.FeatureVersion1})
			for range 3 {
				for i := range 100 {
					if d.call(i % 2) {
						t.Fatal("refused")
					}
				}
				if d.Queues[0].Interrupts() == 0 && d.Queues[1].Interrupts() == 0 {
					t.Error("no interrupt")
				}
				d.Restart()
			}
			if got := r.back.Accepted(); got != features|virtio.FeatureVersion1|protocol.FeatureProtocol {
				t.Errorf("the back end has features %#x", got)
			}
			d.Stop()
			if s := r.dev.Stats(); s != (vhostuser.Stats{Starts: 4}) || r.ended.Load() != 0 || r.log.Len() != 0 {
				t.Errorf("Stats = %+v, End called %d times, log %q", s, r.ended.Load(), &r.log)
			}
		})
	}
}

// A back end dies with requests that it had taken. The device answers these, those that nobody had taken, and all that come.
func TestDeathOfTheBackEnd(t *testing.T) {
	for name, features := range ringFeatures {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			d := r.drive(virtiotest.Config{Features: features})
			for range 70 { // the indices go past the size
				d.call(0)
			}
			r.mu.Lock()
			r.silent = true
			r.mu.Unlock()
			d.Restart()
			answers := map[uint64]virtiotest.Buffer{}
			for range 20 {
				_, a := d.ask(0)
				answers[d.number] = a
				<-r.taken
			}
			r.die()
			for range 5 {
				_, a := d.ask(0)
				answers[d.number] = a
			}
			for range 25 {
				if _, n, ok := d.Queues[0].Wait(); !ok || n != 8 {
					t.Fatalf("%d bytes, ok %v, broken %v", n, ok, d.Broken())
				}
			}
			for number, a := range answers {
				if !d.refused(a, number) {
					t.Errorf("request %#x is served by a dead back end", number)
				}
			}
			for i := range 50 {
				if !d.call(i % 2) {
					t.Fatal("a dead back end serves")
				}
			}
			d.Restart() // a driver that comes again gets the same
			if !d.call(1) {
				t.Error("a dead back end serves a new driver")
			}
			d.Stop()
			if s := r.dev.Stats(); s != (vhostuser.Stats{Starts: 3, Losses: 1, Refused: 76}) {
				t.Errorf("Stats = %+v", s)
			}
			if n := strings.Count(r.log.String(), "\n"); n != 1 || !strings.Contains(r.log.String(), "closed the connection") {
				t.Errorf("log of %d lines, want one that says why:\n%s", n, &r.log)
			}
			if r.ended.Load() == 0 {
				t.Error("nobody made sure that the back end's process has ended")
			}
		})
	}
}

// A device that cannot refuse requests is broken, once and for all.
func TestDeathWithoutRefusals(t *testing.T) {
	r := newRig(t, func(c *vhostuser.Config, _ *vhostusertest.Backend) { c.Refuse, c.Open = nil, nil })
	d := r.drive(virtiotest.Config{})
	d.call(0)
	r.die()
	d.ask(0)
	if _, _, ok := d.Queues[0].Wait(); ok {
		t.Error("a dead back end serves")
	}
	d.Stop()
	if got := d.Broken(); len(got) == 0 || !strings.Contains(got[0].Error(), "gone") {
		t.Errorf("broken: %v", got)
	}
	d.Queues = nil
	if err := r.dev.Start(0, restartQueues(t, r)); err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("Start = %v, want the reason", err)
	}
	r.dev.Stop()
}

// restartQueues are two queues of a driver that does nothing.
func restartQueues(t *testing.T, r *rig) (queues []*virtio.Queue) {
	t.Helper()
	r.dev.mu.Lock()
	mem := r.dev.mem
	r.dev.mu.Unlock()
	for i := range 2 {
		kick, err := virtio.NewKick()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kick.Close() })
		q, err := virtio.NewQueue(virtio.QueueConfig{Memory: mem, Index: i, Size: 8, Desc: 0x10000, Avail: 0x20000, Used: 0x30000, Kick: kick})
		if err != nil {
			t.Fatal(err)
		}
		queues = append(queues, q)
	}
	return queues
}

// A back end that dies before there is a driver, or as one comes, or that lies to Start.
func TestABackEndThatIsGoneFromTheStart(t *testing.T) {
	for name, mistake := range map[string]func([]byte) []byte{
		"before": nil, "silent": func([]byte) []byte { return nil }, "refuses": func(b []byte) []byte { b[12] = 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *vhostuser.Config, b *vhostusertest.Backend) {
				if mistake != nil {
					b.Mistakes = map[protocol.Request]func([]byte) []byte{protocol.SetVringAddr: mistake}
				}
			})
			if mistake == nil {
				r.die()
				<-r.client.Lost()
			}
			d := r.drive(virtiotest.Config{})
			for range 10 {
				if !d.call(0) || !d.call(1) {
					t.Fatal("somebody serves")
				}
			}
			d.Stop()
			if n := strings.Count(r.log.String(), "\n"); n != 1 {
				t.Errorf("log of %d lines, want one:\n%s", n, &r.log)
			}
		})
	}
}

// A back end that does not let go is ended, and Stop returns.
func TestABackEndThatDoesNotLetGo(t *testing.T) {
	for name, mistake := range map[string]func([]byte) []byte{
		"silent": func([]byte) []byte { return nil }, "another ring": func(b []byte) []byte { b[12]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *vhostuser.Config, b *vhostusertest.Backend) {
				b.Mistakes = map[protocol.Request]func([]byte) []byte{protocol.GetVringBase: mistake}
			})
			d := r.drive(virtiotest.Config{})
			d.call(0)
			d.Stop()
			if r.ended.Load() == 0 {
				t.Error("the back end may still use guest memory")
			}
			d.Restart()
			if !d.call(0) {
				t.Error("a back end that was ended serves")
			}
		})
	}
}

// A back end can do to the kicks what it likes, for it has them. That must not make Stop wait, nor the device that goes on without it.
func TestABackEndThatSpoilsTheKicks(t *testing.T) {
	for _, wait := range []bool{false, true} {
		spoiled := make(chan error, 2)
		r := newRig(t, func(_ *vhostuser.Config, b *vhostusertest.Backend) {
			b.Started = func(given vhostusertest.Ring) {
				fd := int(given.KickFile.Fd()) // which makes it block
				_, err := unix.Write(fd, binary.LittleEndian.AppendUint64(nil, 1<<64-2))
				spoiled <- err
			}
		})
		d := r.drive(virtiotest.Config{})
		for range 2 {
			if err := <-spoiled; err != nil {
				t.Fatal(err)
			}
		}
		q := d.Queues[0]
		q.Put(d.Out([]byte("question")), d.In(8))
		avail, err := d.Memory.Slice(r.dev.avail, 4)
		if err != nil {
			t.Fatal(err)
		}
		guestmem.Store16(avail, 2, 1) // without a kick, which would wait
		r.back.Die()
		if wait {
			if _, _, ok := q.Wait(); !ok {
				t.Fatalf("the device broke: %v", d.Broken())
			}
			for range 10 {
				if !d.call(0) || !d.call(1) {
					t.Fatal("somebody serves")
				}
			}
		}
		d.Stop()
	}
}

// After Stop no byte of the guest's memory changes, whatever the driver had asked for.
func TestStopUnderLoad(t *testing.T) {
	for round := range 20 {
		r := newRig(t, nil)
		d := r.drive(virtiotest.Config{})
		var answers []virtiotest.Buffer
		for range 32 {
			_, a := d.ask(0)
			answers = append(answers, a)
		}
		if round%4 == 3 {
			r.die()
		}
		r.dev.Stop()
		for _, a := range answers {
			clear(d.Bytes(a))
		}
		d.Queues[0].Kick()
		runtime.Gosched()
		for _, a := range answers {
			if !bytes.Equal(d.Bytes(a), make([]byte, 8)) {
				t.Fatal("guest memory changes after Stop")
			}
		}
		d.Stop()
	}
}

func TestDriversThatEnableLittle(t *testing.T) {
	r := newRig(t, nil)
	d := r.drive(virtiotest.Config{Missing: []int{0}})
	if d.call(1) {
		t.Error("refused")
	}
	d.Stop()
	virtiotest.Start(t, r.dev, virtiotest.Config{Missing: []int{0, 1}}).Stop()
	if s := r.dev.Stats(); s.Starts != 1 {
		t.Errorf("%d sessions, want 1", s.Starts)
	}
	if err := r.dev.Start(0, nil); err == nil {
		t.Error("Start without queues succeeds")
	}
	r.dev.Stop()
}

func TestNewRefusesBackEndsThatCannot(t *testing.T) {
	for name, tt := range map[string]struct {
		features, queues uint64
		want             string
	}{
		"no event indices": {vhostusertest.Usual &^ virtio.FeatureEventIdx, 2, "lacks the features 0x20000000"},
		"one queue":        {vhostusertest.Usual, 1, "serves 1 queues, want 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &vhostusertest.Backend{Features: tt.features, ProtocolFeatures: 0xff, Queues: tt.queues}
			c, err := protocol.New(protocol.Config{Conn: b.Start(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = vhostuser.New(vhostuser.Config{Name: "test", Client: c, QueueSizes: []uint16{8, 8}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDescription(t *testing.T) {
	r := newRig(t, func(c *vhostuser.Config, b *vhostusertest.Backend) { c.Features, b.Features = 3, b.Features|2 })
	p := []byte("........")
	r.dev.WriteConfig([]byte("other"), 0)
	r.dev.ReadConfig(p, 2)
	if string(p) != "ace\x00\x00\x00\x00\x00" {
		t.Errorf("configuration from 2 = %q", p)
	}
	r.dev.ReadConfig(p, 100)
	if !bytes.Equal(p, make([]byte, 8)) || r.dev.ID() != 26 || r.dev.Features() != 2 || len(r.dev.QueueSizes()) != 2 {
		t.Errorf("beyond the end %q, ID %d, features %#x, %d queues", p, r.dev.ID(), r.dev.Features(), len(r.dev.QueueSizes()))
	}
}

func TestNothingStaysBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range 20 {
		t.Run("", func(t *testing.T) {
			r := newRig(t, nil)
			d := r.drive(virtiotest.Config{})
			d.call(0)
			if i%2 == 0 {
				r.die()
				d.call(1)
			}
		})
	}
	for range 1 << 20 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

func TestRefusingDoesNotAllocate(t *testing.T) {
	r := newRig(t, nil)
	r.die()
	<-r.client.Lost()
	d := r.drive(virtiotest.Config{})
	d.call(0)
	_, answer := d.ask(0)
	head, _, _ := d.Queues[0].Wait()
	if n := testing.AllocsPerRun(200, func() {
		d.Queues[0].Again(head, 2)
		head, _, _ = d.Queues[0].Wait()
	}); n != 0 {
		t.Errorf("a refusal allocates %v times", n)
	}
	d.refused(answer, d.number)
}
