package rng

import (
	"bytes"
	"runtime"
	"testing"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

var features = map[string]uint64{"plain": 0, "event idx": virtio.FeatureEventIdx | virtio.FeatureIndirectDesc}

// plain returns whether b is what virtiotest fills buffers with.
func plain(b []byte) bool { return bytes.Equal(b, bytes.Repeat([]byte{0xcc}, len(b))) }

func TestBuffersAreFilled(t *testing.T) {
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			d := New()
			g := virtiotest.Start(t, d, virtiotest.Config{Features: f})
			q := g.Queues[0]
			seen := map[string]bool{}
			for range 100 {
				a, b := g.In(16), g.In(48)
				q.Add(a, b)
				if _, n, ok := q.Wait(); !ok || n != 64 {
					t.Fatalf("%d bytes written, ok %v; want 64", n, ok)
				}
				for _, b := range [][]byte{g.Bytes(a), g.Bytes(b)} {
					if plain(b) || seen[string(b)] {
						t.Fatalf("%d bytes are not random: %x", len(b), b)
					}
					seen[string(b)] = true
				}
			}
			g.Stop() // what was pushed is counted then
			if s := d.Stats(); s.Requests != 100 || s.Bytes != 6400 || s.Fill.Count() != 100 {
				t.Errorf("Stats = %+v, want 100 requests, each timed, and 6400 bytes", s)
			}
		})
	}
}

func TestARequestIsBounded(t *testing.T) {
	g := virtiotest.Start(t, New(), virtiotest.Config{})
	a, b, c := g.In(maxBytes-100), g.In(1<<20), g.In(100)
	g.Queues[0].Add(a, b, c)
	if _, n, ok := g.Queues[0].Wait(); !ok || n != maxBytes {
		t.Errorf("%d bytes written, want %d", n, maxBytes)
	}
	if plain(g.Bytes(b)[:100]) || !plain(g.Bytes(b)[100:]) || !plain(g.Bytes(c)) {
		t.Error("other bytes were written than the device tells")
	}
}

func TestOddDrivers(t *testing.T) {
	d := New()
	g := virtiotest.Start(t, d, virtiotest.Config{Features: virtio.FeatureEventIdx})
	out := g.Out([]byte("nothing to write"))
	g.Queues[0].Add(out)
	if _, n, ok := g.Queues[0].Wait(); !ok || n != 0 || string(g.Bytes(out)) != "nothing to write" {
		t.Errorf("%d bytes written into a buffer to read, ok %v", n, ok)
	}
	g.Queues[0].SetAvailableIndex(0x8000)
	for len(g.Broken()) == 0 {
		runtime.Gosched()
	}
	g.Restart()
	g.Queues[0].Add(g.In(8))
	for _, _, ok := g.Queues[0].Take(); !ok; _, _, ok = g.Queues[0].Take() {
		runtime.Gosched()
	}
	g.Stop()
	virtiotest.Start(t, d, virtiotest.Config{Missing: []int{0}})
	if err := New().Start(0, nil); err == nil {
		t.Error("Start without queues succeeded")
	}
}

// Nothing is written after Stop, whatever the driver had asked for, and the goroutine is gone.
func TestStopLeavesMemoryAlone(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		d := New()
		g := virtiotest.Start(t, d, virtiotest.Config{})
		bufs := make([]virtiotest.Buffer, 8)
		for i := range bufs {
			bufs[i] = g.In(maxBytes)
			g.Queues[0].Put(bufs[i])
		}
		g.Queues[0].Publish()
		g.Queues[0].Wait() // it is at work
		d.Stop()
		for _, b := range bufs {
			clear(g.Bytes(b))
		}
		g.Stop()
		for _, b := range bufs {
			if !bytes.Equal(g.Bytes(b), make([]byte, maxBytes)) {
				t.Fatal("bytes were written after Stop")
			}
		}
	}
	for range 1 << 20 { // a goroutine that said it is done may not be gone yet
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

func TestDescription(t *testing.T) {
	d := New()
	p := []byte{1, 2, 3}
	d.ReadConfig(p, 0)
	d.WriteConfig(p, 0)
	if d.ID() != 4 || d.Features() != 0 || len(d.QueueSizes()) != 1 || !bytes.Equal(p, make([]byte, 3)) {
		t.Errorf("ID %d, features %#x, %d queues, config %v", d.ID(), d.Features(), len(d.QueueSizes()), p)
	}
}

// FuzzDriver lets bytes choose what a driver does. The device must survive and must stop.
func FuzzDriver(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 40, 0, 0, 0, 0, 250, 0, 221, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		g := virtiotest.Start(t, New(), virtiotest.Config{Features: features["event idx"]})
		virtiotest.Script(g, script)
		g.Stop()
	})
}
