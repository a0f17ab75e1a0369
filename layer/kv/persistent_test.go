package kv

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// TestPersistentMemoryServes has clients write to persistent memory at the same time.
func TestPersistentMemoryServes(t *testing.T) {
	memory := disktest.NewMemory()
	address, _ := serveFolder(t, memory, nil)
	admin := connect(t, address)
	var clients sync.WaitGroup
	for range 8 {
		p := connect(t, address)
		clients.Go(func() {
			for range 200 {
				if r, err := p.do("INCR", "n"); err != nil || !strings.HasPrefix(r, ":") {
					t.Errorf("INCR = %q, %v", r, err)
					return
				}
			}
		})
	}
	clients.Wait()
	if r := admin.must(t, "get", "n"); r != "$4\r\n1600\r\n" {
		t.Errorf("GET n = %q, want 1600", r)
	}
}

// TestNothingIsAcknowledgedAfterAFault has a page that cannot be written.
func TestNothingIsAcknowledgedAfterAFault(t *testing.T) {
	memory := disktest.NewMemory()
	memory.FailWrite = func(off int64) bool { return off >= 8192 } // where records begin
	s, err := New(Config{Listen: "127.0.0.1:0", Folder: memory, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with cancel
	writer := connect(t, s.Address())
	if r, err := writer.do("set", "a", "1"); err == nil {
		t.Errorf("the write that faulted was answered with %q, want the connection's end", r)
	}
	if r, err := connect(t, s.Address()).do("set", "b", "1"); !strings.HasPrefix(r, "-MISCONF ") {
		t.Errorf("SET = %q, %v after a fault, want MISCONF", r, err)
	}
	cancel()
	for name, err := range map[string]error{"Run": <-done, "Close": s.Close()} {
		if !errors.Is(err, engine.ErrSealed) {
			t.Errorf("%s() = %v after a fault, want %v", name, err, engine.ErrSealed)
		}
	}
}
