package blk

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"usui/machine/limit"
	"usui/machine/virtio/virtiotest"
)

func mustNew(t *testing.T, c Config) *Blk {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Each queue serves its own driver's part, all at once; together they stay below the backend's depth.
func TestSeveralQueues(t *testing.T) {
	m := newMemory(1 << 20)
	m.geometry.Depth = 8
	d := mustNew(t, Config{Backend: m, Queues: 4})
	var config [60]byte
	d.ReadConfig(config[:], 0)
	if n := binary.LittleEndian.Uint16(config[34:]); d.Features()&FeatureMQ == 0 || n != 4 {
		t.Errorf("features %#x, %d queues in the configuration; want F_MQ and 4", d.Features(), n)
	}
	g := virtiotest.Start(t, d, virtiotest.Config{Features: allFeatures | FeatureMQ, Missing: []int{2}})
	var all sync.WaitGroup
	for i, q := range g.Queues {
		if q == nil {
			continue
		}
		const requests = 40 // many times what a queue may have in flight
		type request struct{ data, status virtiotest.Buffer }
		var list []request
		for n := range requests { // the memory of the test is given out by one goroutine
			r := request{g.In(512), g.In(1)}
			list = append(list, r)
			q.Put(g.Out(header(typeIn, uint64(i*requests+n))), r.data, r.status)
			if q.Free() < 3 || n == requests-1 {
				all.Go(q.Publish)
				all.Wait()
				for q.Free() < q.Size() {
					if _, _, ok := q.Wait(); !ok {
						t.Fatalf("the device broke: %v", g.Broken())
					}
				}
			}
		}
		for _, r := range list {
			if status := g.Bytes(r.status)[0]; status != statusOK {
				t.Errorf("queue %d: status %d", i, status)
			}
		}
	}
	if m.look(func() {}); m.most > m.geometry.Depth/3 {
		t.Errorf("%d requests of one queue in flight, want its share of %d", m.most, m.geometry.Depth)
	}
	if n := d.Stats().Reads; n != 3*40 {
		t.Errorf("%d reads, want %d", n, 3*40)
	}
}

// A limit slows a driver down and loses none of its requests. That it takes long enough is the only time that a test can be sure of.
func TestLimit(t *testing.T) {
	ops, err := limit.New(1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := mustNew(t, Config{Backend: newMemory(1 << 20), Limit: limit.Pair{Ops: ops}})
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: allFeatures, Size: 256}), t: t}
	g.q = g.Queues[0]
	const requests = 50
	began := time.Now()
	for range requests {
		g.q.Put(g.Out(header(typeIn, 0)), g.In(513))
	}
	g.q.Publish()
	for range requests {
		g.wait()
	}
	if took, least := time.Since(began), (requests-1)*time.Millisecond; took < least {
		t.Errorf("%d requests took %v, want at least %v", requests, took, least)
	}
	g.mustDo(g.Out(header(typeFlush, 0)), g.In(1))
	if s := d.Stats(); s.Reads != requests || s.Held == 0 {
		t.Errorf("Stats = %+v", s)
	}
}

// A driver that a limit keeps waiting for long can be reset.
func TestStopWhileHeld(t *testing.T) {
	bytes, err := limit.New(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := mustNew(t, Config{Backend: newMemory(1 << 20), Limit: limit.Pair{Bytes: bytes}})
	g := &guest{Driver: virtiotest.Start(t, d, virtiotest.Config{Features: allFeatures}), t: t}
	g.q = g.Queues[0]
	g.mustDo(g.Out(header(typeIn, 0)), g.In(513))
	g.q.Add(g.Out(header(typeIn, 0)), g.In(513))
	for d.Stats().Held == 0 {
		g.q.Kick()
	}
	g.Stop() // the test's time-out is its limit
}
