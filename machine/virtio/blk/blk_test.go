package blk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"usui/host/need"
	"usui/internal/metrics"
	"usui/machine/block"
	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

const allFeatures = FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology | FeatureDiscard | FeatureWriteZeroes |
	virtio.FeatureEventIdx | virtio.FeatureIndirectDesc

// guest is a driver of a disk.
type guest struct {
	*virtiotest.Driver
	t *testing.T
	q *virtiotest.Queue
}

func boot(t *testing.T, b block.Backend, features uint64) (*guest, *Blk) {
	t.Helper()
	d, err := New(Config{Backend: b, ID: "disk-1"})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: features, Size: 256}), t: t}
	g.q = g.Queues[0]
	return g, d
}

func header(kind uint32, sector uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint64(b, sector)
}

// wait returns what became of the next request.
func (g *guest) wait() (head uint16, written uint32) {
	g.t.Helper()
	head, written, ok := g.q.Wait()
	if !ok {
		g.t.Fatalf("the device broke: %v", g.Broken())
	}
	return head, written
}

// do sends one request and returns its status.
func (g *guest) do(bufs ...virtiotest.Buffer) (status byte, written uint32) {
	g.t.Helper()
	g.q.Add(bufs...)
	_, written = g.wait()
	last := g.Bytes(bufs[len(bufs)-1])
	return last[len(last)-1], written
}

func (g *guest) mustDo(bufs ...virtiotest.Buffer) {
	g.t.Helper()
	if status, _ := g.do(bufs...); status != statusOK {
		g.t.Fatalf("status %d", status)
	}
}

func TestReadAndWrite(t *testing.T) {
	m := newMemory(1 << 20)
	rand.NewChaCha8([32]byte{1}).Read(m.bytes)
	g, d := boot(t, m, allFeatures)
	b := g.In(4096)
	if status, written := g.do(g.Out(header(typeIn, 8)), b, g.In(1)); status != statusOK || written != 4097 {
		t.Errorf("read: status %d, %d bytes written; want 0, 4097", status, written)
	}
	if !bytes.Equal(g.Bytes(b), m.part(4096, 4096)) {
		t.Error("the guest reads other bytes than the disk has")
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 64)
	if status, written := g.do(g.Out(header(typeOut, 3)), g.Out(data), g.In(1)); status != statusOK || written != 1 {
		t.Errorf("write: status %d, %d bytes written; want 0, 1", status, written)
	}
	if !bytes.Equal(m.part(3*512, 1024), data) {
		t.Error("the disk has other bytes than the guest wrote")
	}
	want := Stats{Reads: 1, Writes: 1, BytesRead: 4096, BytesWritten: 1024, Groups: 2}
	got := d.Stats()
	if got.Read.Count() != 1 || got.Write.Count() != 1 || got.Flush.Count() != 0 {
		t.Errorf("%d, %d, %d times measured, want 1, 1, 0", got.Read.Count(), got.Write.Count(), got.Flush.Count())
	}
	got.Read, got.Write = metrics.Latency{}, metrics.Latency{}
	if got.Wakeups = 0; got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

// A request may be cut anywhere (virtio 1.2 section 2.7.4): header over three buffers and into the data, status behind the data.
func TestRequestsInPieces(t *testing.T) {
	m := newMemory(1 << 20)
	rand.NewChaCha8([32]byte{1}).Read(m.bytes)
	g, _ := boot(t, m, allFeatures)
	h := header(typeIn, 8)
	in := []virtiotest.Buffer{g.In(1), g.In(510), g.In(514)}
	g.q.PutIndirect(append([]virtiotest.Buffer{g.Out(h[:1]), g.Out(h[1:9]), g.Out(h[9:])}, in...)...)
	g.q.Publish()
	if _, written := g.wait(); written != 1025 {
		t.Errorf("%d bytes written, want 1025", written)
	}
	got := append(append(bytes.Clone(g.Bytes(in[0])), g.Bytes(in[1])...), g.Bytes(in[2])...)
	if !bytes.Equal(got, append(m.part(4096, 1024), statusOK)) {
		t.Error("the guest reads other bytes than the disk has, or no status behind them")
	}
	data := bytes.Repeat([]byte{7}, 1024)
	h = header(typeOut, 8)
	g.mustDo(g.Out(h[:10]), g.Out(append(bytes.Clone(h[10:]), data[:5]...)), g.Out(data[5:]), g.In(1))
	if !bytes.Equal(m.part(4096, 1024), data) {
		t.Error("the disk has other bytes than the guest wrote")
	}
}

// span is the payload of a discard or write-zeroes request.
func span(sector uint64, count, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, count)
	return binary.LittleEndian.AppendUint32(b, flags)
}

func TestStatus(t *testing.T) {
	const sectors = 2048
	id := "disk-1" + strings.Repeat("\x00", 14)
	tests := []struct {
		name     string
		features uint64 // taken away
		readOnly bool
		out      [][]byte
		in       int // with the status
		status   byte
		written  uint32
		data     string // at the start of in
	}{
		{name: "flush", out: [][]byte{header(typeFlush, 77)}, in: 1, written: 1},
		{name: "id", out: [][]byte{header(typeGetID, 0)}, in: 21, written: 21, data: id},
		{name: "id in too little room", out: [][]byte{header(typeGetID, 0)}, in: 4, written: 4, data: "dis"},
		{name: "id in much room", out: [][]byte{header(typeGetID, 0)}, in: 100, written: 20, data: id},
		{name: "id in no room", out: [][]byte{header(typeGetID, 0)}, in: 1, written: 1},
		{name: "unknown type", out: [][]byte{header(99, 0)}, in: 1, status: statusUnsupported, written: 1},
		{name: "unknown type with room", out: [][]byte{header(99, 0)}, in: 9, status: statusUnsupported},
		{name: "zone report", out: [][]byte{header(16, 0)}, in: 513, status: statusUnsupported},
		{name: "half a sector", out: [][]byte{header(typeIn, 0)}, in: 257, status: statusIOErr},
		{name: "the last sector", out: [][]byte{header(typeIn, sectors-1)}, in: 513, written: 513},
		{name: "across the end", out: [][]byte{header(typeIn, sectors-1)}, in: 1025, status: statusIOErr},
		{name: "behind the end", out: [][]byte{header(typeIn, sectors)}, in: 513, status: statusIOErr},
		{name: "sector whose byte offset overflows", out: [][]byte{header(typeIn, 1<<55)}, in: 513, status: statusIOErr},
		{name: "largest sector", out: [][]byte{header(typeOut, 1<<64-1), make([]byte, 512)}, in: 1, status: statusIOErr, written: 1},
		{name: "empty read", out: [][]byte{header(typeIn, 0)}, in: 1, written: 1},
		{name: "empty write", out: [][]byte{header(typeOut, 0)}, in: 1, written: 1},
		{name: "short header", out: [][]byte{header(typeIn, 0)[:15]}, in: 513, status: statusIOErr},
		{name: "short header of a write", out: [][]byte{{1}}, in: 1, status: statusIOErr, written: 1},
		{name: "write to a read-only disk", readOnly: true, out: [][]byte{header(typeOut, 0), make([]byte, 512)}, in: 1, status: statusIOErr, written: 1},
		{name: "discard", out: [][]byte{header(typeDiscard, 0), span(8, 8, 0)}, in: 1, written: 1},
		{name: "discard with unmap", out: [][]byte{header(typeDiscard, 0), span(8, 8, 1)}, in: 1, status: statusUnsupported, written: 1},
		{name: "discard of two segments", out: [][]byte{header(typeDiscard, 0), span(8, 8, 0), span(32, 8, 0)}, in: 1, status: statusUnsupported, written: 1},
		{name: "discard of half a segment", out: [][]byte{header(typeDiscard, 0), span(8, 8, 0)[:8]}, in: 1, status: statusUnsupported, written: 1},
		{name: "discard that was not accepted", features: FeatureDiscard, out: [][]byte{header(typeDiscard, 0), span(8, 8, 0)}, in: 1, status: statusUnsupported, written: 1},
		{name: "discard behind the end", out: [][]byte{header(typeDiscard, 0), span(sectors, 8, 0)}, in: 1, status: statusIOErr, written: 1},
		{name: "discard of too much", out: [][]byte{header(typeDiscard, 0), span(0, 1<<32-1, 0)}, in: 1, status: statusIOErr, written: 1},
		{name: "write zeroes", out: [][]byte{header(typeWriteZeroes, 0), span(8, 8, 0)}, in: 1, written: 1},
		{name: "write zeroes with unmap", out: [][]byte{header(typeWriteZeroes, 0), span(8, 8, 1)}, in: 1, written: 1},
		{name: "write zeroes with an unknown flag", out: [][]byte{header(typeWriteZeroes, 0), span(8, 8, 2)}, in: 1, status: statusUnsupported, written: 1},
		{name: "write zeroes at a huge sector", out: [][]byte{header(typeWriteZeroes, 0), span(1<<63, 8, 0)}, in: 1, status: statusIOErr, written: 1},
		{name: "write zeroes that was not accepted", features: FeatureWriteZeroes, out: [][]byte{header(typeWriteZeroes, 0), span(8, 8, 0)}, in: 1, status: statusUnsupported, written: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(sectors * 512)
			m.geometry.ReadOnly = tt.readOnly
			g, _ := boot(t, m, allFeatures&^tt.features)
			var bufs []virtiotest.Buffer
			for _, b := range tt.out {
				bufs = append(bufs, g.Out(b))
			}
			in := g.In(tt.in)
			status, written := g.do(append(bufs, in)...)
			if status != tt.status || written != tt.written {
				t.Errorf("status %d, %d bytes written; want %d, %d", status, written, tt.status, tt.written)
			}
			if got := g.Bytes(in)[:len(tt.data)]; string(got) != tt.data {
				t.Errorf("read %q, want %q", got, tt.data)
			}
			g.mustDo(g.Out(header(typeFlush, 0)), g.In(1)) // and it goes on
		})
	}
}

// A range of 2 GiB is the longest, also on a disk that has more.
func TestLongestRange(t *testing.T) {
	m := newMemory(1 << 16)
	m.geometry.Size, m.geometry.Zero = 1<<40, false
	g, _ := boot(t, m, allFeatures)
	for count, want := range map[uint32]byte{1 << 22: statusOK, 1<<22 + 8: statusIOErr, 1<<32 - 8: statusIOErr} {
		if status, _ := g.do(g.Out(append(header(typeDiscard, 0), span(8, count, 0)...)), g.In(1)); status != want {
			t.Errorf("a discard of %d sectors: status %d, want %d", count, status, want)
		}
	}
}

func TestChainsWithoutStatus(t *testing.T) {
	g, _ := boot(t, newMemory(1<<20), allFeatures)
	for _, b := range [][]virtiotest.Buffer{
		{g.Out(header(typeFlush, 0))},
		{g.Out(header(typeOut, 0)), g.Out(make([]byte, 512))},
	} {
		g.q.Add(b...)
		if _, written := g.wait(); written != 0 {
			t.Errorf("%d bytes written into a chain without room", written)
		}
	}
	if status, _ := g.do(g.In(513)); status != statusIOErr {
		t.Errorf("status %d without a header, want %d", status, statusIOErr)
	}
	g.mustDo(g.Out(header(typeFlush, 0)), g.In(1))
}

func TestZeroesReachTheDisk(t *testing.T) {
	m := newMemory(1 << 20)
	for i := range m.bytes {
		m.bytes[i] = 1
	}
	g, d := boot(t, m, allFeatures)
	g.mustDo(g.Out(append(header(typeWriteZeroes, 0), span(2, 3, 0)...)), g.In(1))
	disk := m.part(0, 1<<20)
	if n := bytes.IndexByte(disk, 0); n != 1024 || bytes.Count(disk, []byte{0}) != 1536 {
		t.Errorf("%d zeroes from %d on, want 1536 from 1024 on", bytes.Count(disk, []byte{0}), n)
	}
	g.mustDo(g.Out(append(header(typeDiscard, 0), span(2, 3, 0)...)), g.In(1))
	g.mustDo(g.Out(header(typeFlush, 0)), g.In(1))
	if s := d.Stats(); s.Zeroes != 1 || s.Discards != 1 || s.Flushes != 1 {
		t.Errorf("Stats = %+v, want one each", s)
	}
}

// Whoever does not accept F_FLUSH believes that a write is durable when it completes.
func TestWriteThroughWithoutFlush(t *testing.T) {
	m := newMemory(1 << 20)
	g, _ := boot(t, m, allFeatures&^FeatureFlush)
	g.mustDo(g.Out(header(typeOut, 2)), g.Out(make([]byte, 512)), g.In(1))
	g.mustDo(g.Out(header(typeIn, 2)), g.In(513))
	var log string
	m.look(func() { log = strings.Join(m.log, ", ") })
	if got, want := log, "write 1024+512, flush 0+0, read 1024+512"; got != want {
		t.Errorf("the backend was asked for %q, want %q", got, want)
	}
}

func TestBackendErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status byte
	}{{errors.New("bad medium"), statusIOErr}, {block.ErrUnsupported, statusUnsupported}} {
		var log bytes.Buffer
		m := newMemory(1 << 20)
		m.fail = tt.err
		d, err := New(Config{Backend: m, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: allFeatures}), t: t}
		g.q = g.Queues[0]
		for range 2 * maxLogged {
			if status, written := g.do(g.Out(header(typeIn, 0)), g.In(513)); status != tt.status || written != 0 {
				t.Errorf("%v: status %d, %d bytes written; want %d, 0", tt.err, status, written, tt.status)
			}
		}
		g.Stop()
		if n := strings.Count(log.String(), tt.err.Error()); n != maxLogged || d.Stats().Errors != 2*maxLogged {
			t.Errorf("%v: %d lines logged of %d errors, want %d of %d", tt.err, n, d.Stats().Errors, maxLogged, 2*maxLogged)
		}
	}
	m := newMemory(1 << 20)
	m.refuse = true
	g, _ := boot(t, m, allFeatures)
	if status, _ := g.do(g.Out(header(typeFlush, 0)), g.In(1)); status != statusIOErr {
		t.Errorf("status %d of a closed backend, want %d", status, statusIOErr)
	}
}

// A backend that takes four requests at a time gets no more, and the driver that has sixty loses none.
func TestDepthIsKept(t *testing.T) {
	m := newMemory(1 << 20)
	m.geometry.Depth = 4
	m.hold = true
	g, _ := boot(t, m, allFeatures)
	for i := range 60 {
		g.q.Put(g.Out(header(typeIn, uint64(i))), g.In(513))
	}
	g.q.Publish()
	for range 14 {
		m.await(4)
		m.mu.Lock()
		held := m.held
		m.held = nil
		m.mu.Unlock()
		for _, f := range held {
			f()
		}
	}
	m.await(4)
	m.release()
	for range 60 {
		g.wait()
	}
	m.look(func() {
		if m.most != 4 {
			t.Errorf("%d requests in flight at a time, want 4", m.most)
		}
	})
}

// What is made available at once costs one call of the backend and one interrupt.
func TestBatches(t *testing.T) {
	for name, features := range map[string]uint64{"event idx": allFeatures, "plain": allFeatures &^ virtio.FeatureEventIdx} {
		m := newMemory(1 << 20)
		g, d := boot(t, m, features)
		g.mustDo(g.Out(header(typeFlush, 0)), g.In(1)) // the device waits now, or will find what is put next without a kick
		groups, interrupts := d.Stats().Groups, g.q.Interrupts()
		for i := range groupRequests {
			g.q.Put(g.Out(header(typeIn, uint64(i))), g.In(513))
		}
		g.q.Publish()
		for range groupRequests {
			g.wait()
		}
		groups, interrupts = d.Stats().Groups-groups, g.q.Interrupts()-interrupts
		if groups != 1 || interrupts > 1 {
			t.Errorf("%s: %d requests took %d calls of the backend and %d interrupts, want one each", name, groupRequests, groups, interrupts)
		}
		groups = d.Stats().Groups
		for range 4 {
			g.q.Put(g.Out(header(typeIn, 0)), g.In(groupBytes), g.In(1))
		}
		g.q.Publish()
		for range 4 {
			g.wait()
		}
		if n := d.Stats().Groups - groups; n != 4 {
			t.Errorf("%s: 4 large requests took %d calls of the backend, want 4", name, n)
		}
	}
}

// wakeUp kicks until the device has woken up: what comes next did not lie there before.
func (g *guest) wakeUp(d *Blk) {
	n := d.Stats().Wakeups
	for d.Stats().Wakeups == n {
		g.q.Kick()
		runtime.Gosched()
	}
}

// waiting is a backend that counts how often it was allowed to wait.
type waiting struct {
	*memory
	waits int
	mu    sync.Mutex // the guest's memory, by which the two sides meet, is none that the race detector knows
	first func()     // called before a request is done, if not nil
}

func (w *waiting) SubmitAndWait(reqs []block.Request, done block.Completion) error {
	w.waits++
	return w.Submit(reqs, done)
}

func (w *waiting) Submit(reqs []block.Request, done block.Completion) error {
	w.mu.Lock()
	if w.first != nil {
		w.first()
	}
	w.mu.Unlock()
	return w.memory.Submit(reqs, done)
}

// A driver that sends the next request while the device works on the last is not one that waits.
func TestDoesNotWaitWhenTheNextIsThere(t *testing.T) {
	w := &waiting{memory: newMemory(1 << 20)}
	g, d := boot(t, w, allFeatures)
	g.wakeUp(d)
	sent, all := 1, make(chan struct{})
	put := func() { g.q.Add(g.Out(header(typeIn, 0)), g.In(512), g.In(1)) }
	w.mu.Lock()
	w.first = func() { // on the device's goroutine; this one waits
		if sent++; sent < 4*loneEnough {
			put()
		} else if sent == 4*loneEnough {
			close(all)
		}
	}
	put()
	w.mu.Unlock()
	<-all
	g.Stop()
	if w.waits != 0 {
		t.Errorf("%d waits", w.waits)
	}
}

// A driver that sends one request at a time is waited with, one that sends more is not.
func TestWaitsWithALoneRequest(t *testing.T) {
	w := &waiting{memory: newMemory(1 << 20)}
	g, d := boot(t, w, allFeatures)
	one := func() { g.mustDo(g.Out(header(typeIn, 0)), g.In(512), g.In(1)) }
	idle := func() { g.wakeUp(d) }
	for range loneEnough {
		idle()
		one()
	}
	d.Stop()
	if w.waits != 0 {
		t.Errorf("%d waits in %d requests, want none", w.waits, loneEnough)
	}
	g.Restart()
	g.q = g.Queues[0]
	for range loneEnough {
		idle()
		one()
	}
	idle()
	g.mustDo(g.Out(header(typeFlush, 0)), g.In(1)) // takes long: never waited with
	idle()
	one()
	g.Stop()
	if w.waits != 1 {
		t.Errorf("%d waits, want 1: the read after %d lone requests and a flush", w.waits, loneEnough)
	}
	g.Restart()
	g.q = g.Queues[0]
	for range 4 * loneEnough {
		idle()
		for range 2 {
			g.q.Put(g.Out(header(typeIn, 0)), g.In(512), g.In(1))
		}
		g.q.Publish()
		g.wait()
		g.wait()
	}
	g.Stop()
	if w.waits != 1 {
		t.Errorf("%d waits with a driver that sends two at a time", w.waits-1)
	}
}

func TestStopWaitsForTheBackend(t *testing.T) {
	m := newMemory(1 << 20)
	m.hold = true
	g, d := boot(t, m, allFeatures)
	for i := range 10 {
		g.q.Put(g.Out(header(typeOut, uint64(i))), g.Out(make([]byte, 512)), g.In(1))
	}
	g.q.Publish()
	m.await(10)
	stopped := make(chan struct{})
	go func() {
		d.Stop()
		close(stopped)
	}()
	d.running.Wait() // the queue's goroutine is gone: only the requests are left to wait for
	for range 10000 {
		runtime.Gosched()
	}
	select {
	case <-stopped:
		t.Fatal("Stop returned with requests in flight")
	default:
	}
	m.release()
	<-stopped
	m.look(func() {
		if m.inFlight != 0 {
			t.Errorf("%d requests in flight after Stop", m.inFlight)
		}
	})
	for range 10 { // the driver finds them complete: nothing is lost in a snapshot
		if _, _, ok := g.q.Take(); !ok {
			t.Fatal("a request was not returned")
		}
	}
	d.Stop()
}

func TestRestart(t *testing.T) {
	g, _ := boot(t, newMemory(1<<20), allFeatures)
	before := runtime.NumGoroutine()
	for range 20 {
		g.Restart()
		g.q = g.Queues[0]
		g.mustDo(g.Out(header(typeFlush, 0)), g.In(1))
	}
	for range 1 << 20 { // a goroutine that said it is done may not be gone yet
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

func TestQueueThatIsNotEnabled(t *testing.T) {
	d, err := New(Config{Backend: newMemory(512)})
	if err != nil {
		t.Fatal(err)
	}
	virtiotest.Start(t, d, virtiotest.Config{Missing: []int{0}}).Stop()
	if err := d.Start(0, nil); err == nil {
		t.Error("Start without queues succeeded")
	}
}

func TestBrokenDriver(t *testing.T) {
	m := newMemory(1 << 20)
	m.hold = true
	g, _ := boot(t, m, allFeatures)
	g.q.Add(g.Out(header(typeIn, 0)), g.In(513))
	m.await(1)
	g.q.SetAvailableIndex(0x8000)
	for len(g.Broken()) == 0 {
		runtime.Gosched()
	}
	m.release() // what was in flight completes, and is not pushed
	g.Stop()
}

func TestFeaturesAndConfig(t *testing.T) {
	tests := []struct {
		name     string
		geometry block.Geometry
		features uint64
		config   map[int]uint64 // offset -> little-endian number of as many bytes as the field has
	}{
		{"all", block.Geometry{Size: 1 << 30, BlockSize: 512, Depth: 1, Discard: true, Zero: true},
			FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology | FeatureDiscard | FeatureWriteZeroes,
			map[int]uint64{0: 1 << 21, 8: 0, 12: 254, 20: 512, 24: 3, 26: 8, 36: 1 << 22, 40: 1, 44: 8, 48: 1 << 22, 52: 1, 56: 0}},
		{"4 KiB blocks", block.Geometry{Size: 1 << 30, BlockSize: 4096, Depth: 1},
			FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology,
			map[int]uint64{0: 1 << 21, 20: 4096, 24: 0, 26: 1}},
		{"read-only", block.Geometry{Size: 1 << 30, BlockSize: 512, Depth: 1, ReadOnly: true, Discard: true, Zero: true},
			FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology | FeatureReadOnly, nil},
	}
	size := map[int]int{0: 8, 24: 1, 26: 2, 56: 1}
	for _, tt := range tests {
		d, err := New(Config{Backend: &memory{geometry: tt.geometry}})
		if err != nil {
			t.Fatal(err)
		}
		if d.Features() != tt.features || d.ID() != 2 {
			t.Errorf("%s: features %#x, ID %d; want %#x, 2", tt.name, d.Features(), d.ID(), tt.features)
		}
		for off, want := range tt.config {
			n := size[off]
			if n == 0 {
				n = 4
			}
			var b [8]byte
			d.ReadConfig(b[:n], off)
			if got := binary.LittleEndian.Uint64(b[:]); got != want {
				t.Errorf("%s: config at %d = %d, want %d", tt.name, off, got, want)
			}
		}
		far := []byte{1, 1}
		for _, off := range []int{-1, 60, 1 << 30} {
			if d.ReadConfig(far, off); far[0] != 0 || far[1] != 0 {
				t.Errorf("%s: config at %d = %v, want zeroes", tt.name, off, far)
			}
		}
		d.WriteConfig(far, 0)
	}
}

func TestNewRefuses(t *testing.T) {
	good := block.Geometry{Size: 512, BlockSize: 512, Depth: 1}
	for name, c := range map[string]Config{
		"no backend":  {},
		"queues":      {Backend: &memory{geometry: good}, Queues: MaxQueues + 1},
		"a long ID":   {Backend: &memory{geometry: good}, ID: strings.Repeat("x", MaxID+1)},
		"no geometry": {Backend: &memory{}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: New succeeded", name)
		}
	}
}

func openFile(t testing.TB, size int, e block.Engine) *block.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.img")
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{5}).Read(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if e == block.EngineURing {
		need.URing(t)
	}
	f, err := block.OpenFile(path, block.Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Many requests in flight on a real file, against a slice of bytes. Those in flight at a time touch different blocks.
func TestRandomRequestsOnFiles(t *testing.T) {
	for _, e := range []block.Engine{block.EngineURing, block.EnginePread} {
		t.Run(e.String(), func(t *testing.T) {
			const size, blocks = 4 << 20, 1024
			g, _ := boot(t, openFile(t, size, e), allFeatures)
			model := make([]byte, size)
			rand.NewChaCha8([32]byte{5}).Read(model)
			rnd := rand.New(rand.NewPCG(1, 2))
			type pending struct {
				data   virtiotest.Buffer
				status virtiotest.Buffer
				at     int
				read   bool
			}
			inFlight, busy := map[uint16]pending{}, make([]bool, blocks)
			finish := func() {
				head, _ := g.wait()
				p := inFlight[head]
				delete(inFlight, head)
				busy[p.at] = false
				if s := g.Bytes(p.status)[0]; s != statusOK {
					t.Fatalf("status %d", s)
				}
				part := model[p.at*4096:][:4096]
				if p.read && !bytes.Equal(g.Bytes(p.data), part) {
					t.Fatal("the guest reads other bytes than were written")
				}
			}
			for range 5000 {
				at := rnd.IntN(blocks)
				for busy[at] || len(inFlight) > 60 {
					finish()
				}
				p := pending{status: g.In(1), at: at, read: rnd.IntN(2) == 0}
				h := header(typeIn, uint64(at*8))
				if p.read {
					p.data = g.In(4096)
				} else {
					h = header(typeOut, uint64(at*8))
					part := model[at*4096:][:4096]
					rand.NewChaCha8([32]byte{byte(rnd.Uint32())}).Read(part)
					p.data = g.Out(part)
				}
				busy[at] = true
				if rnd.IntN(2) == 0 {
					inFlight[g.q.Put(g.Out(h), p.data, p.status)] = p
				} else {
					inFlight[g.q.PutIndirect(g.Out(h), p.data, p.status)] = p
				}
				g.q.Publish()
			}
			for len(inFlight) > 0 {
				finish()
			}
		})
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, e := range []block.Engine{block.EngineURing, block.EnginePread} {
		g, _ := boot(t, openFile(t, 1<<20, e), allFeatures)
		head := g.q.Add(g.Out(header(typeIn, 0)), g.In(4096), g.In(1))
		g.wait()
		if n := testing.AllocsPerRun(500, func() {
			g.q.Again(head, 3)
			g.wait()
		}); n != 0 {
			t.Errorf("%v: %v allocations for a read, want none", e, n)
		}
	}
}

// FuzzDriver lets bytes choose what a driver does. The device must survive, stay inside the disk, and stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 2, 3, 15, 1, 0, 0, 0, 30, 1, 2, 3, 4, 5, 6, 7, 8, 250, 210, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		g, _ := boot(t, newMemory(1<<16), allFeatures)
		virtiotest.Script(g.Driver, script)
		g.Stop()
	})
}

func BenchmarkRead(b *testing.B) {
	for _, e := range []block.Engine{block.EngineURing, block.EnginePread} {
		for _, depth := range []int{1, 32} {
			for _, size := range []int{4096, 1 << 20} {
				name := e.String() + "/" + map[int]string{4096: "4K", 1 << 20: "1M"}[size] + "/depth" + map[int]string{1: "1", 32: "32"}[depth]
				b.Run(name, func(b *testing.B) { benchmarkRead(b, e, depth, size) })
			}
		}
	}
}

func benchmarkRead(b *testing.B, e block.Engine, depth, size int) {
	d, err := New(Config{Backend: openFile(b, 32<<20, e)})
	if err != nil {
		b.Fatal(err)
	}
	g := virtiotest.Start(b, d, virtiotest.Config{Features: allFeatures, Size: 256})
	q := g.Queues[0]
	for i := range depth {
		q.Put(g.Out(header(typeIn, uint64(i*size/512))), g.In(size), g.In(1))
	}
	q.Publish()
	b.SetBytes(int64(size))
	kicks, interrupts := q.Kicks(), q.Interrupts()
	n := 0
	for b.Loop() {
		head, _, ok := q.Wait()
		if !ok {
			b.Fatal(g.Broken())
		}
		q.Again(head, 3)
		n++
	}
	b.ReportMetric(float64(q.Kicks()-kicks)/float64(n), "kicks/op")
	b.ReportMetric(float64(q.Interrupts()-interrupts)/float64(n), "irqs/op")
}

// TestStopAfterAFaultBehindAGoodRequest breaks the queue while good requests of the same group wait to be submitted.
func TestStopAfterAFaultBehindAGoodRequest(t *testing.T) {
	m := newMemory(1 << 20)
	g, d := boot(t, m, allFeatures)
	g.q.Put(g.Out(header(typeIn, 0)), g.In(513))
	g.q.PutAvailable(0xffff)
	g.q.Publish()
	for len(g.Broken()) == 0 {
		runtime.Gosched()
	}
	d.Stop() // hung when the good request's slot was lost
}
