package virtio

import (
	"testing"
)

// TestQueueRoundTrip sends one request through and looks at both ends of it.
func TestQueueRoundTrip(t *testing.T) {
	m := newMemory(t)
	interrupts := 0
	d, q := newDriver(t, m, 8, 0, QueueConfig{Interrupt: func() { interrupts++ }})
	copy(slice(t, m, bufferGPA, 5), "hello")
	head, _ := d.add(buffer{bufferGPA, 5, false}, buffer{bufferGPA + page, 16, true})
	if !d.publish() {
		t.Error("a queue without NO_NOTIFY wants no kick")
	}
	var c Chain
	if ok, err := q.Pop(&c); !ok || err != nil {
		t.Fatalf("Pop = %t, %v, want a chain", ok, err)
	}
	if c.Head != head || len(c.Out) != 1 || string(c.Out[0]) != "hello" || c.OutLen != 5 || len(c.In) != 1 || c.InLen != 16 {
		t.Errorf("Pop gave %+v", c)
	}
	copy(c.In[0], "world")
	q.Push(c.Head, 5)
	q.Notify()
	if got, n, found, ok := d.take(); got != head || n != 5 || !found || !ok {
		t.Errorf("used entry: head %d, %d bytes, found %t, held %t, want %d, 5, true, true", got, n, found, ok, head)
	}
	if got := slice(t, m, bufferGPA+page, 5); string(got) != "world" {
		t.Errorf("the driver reads %q, want %q", got, "world")
	}
	if interrupts != 1 {
		t.Errorf("%d interrupts, want 1", interrupts)
	}
	if ok, err := q.Pop(&c); ok || err != nil {
		t.Errorf("Pop of an empty ring = %t, %v", ok, err)
	}
}
