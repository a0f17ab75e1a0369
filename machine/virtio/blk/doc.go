// Package blk is the virtio block device: it brings a guest's disk requests to a block backend.
//
// # Place
//
// A virtio.Device behind the transport of machine/virtio, over the seam of machine/block. Source: virtio 1.2 section 5.2.
//
// # Idea
//
// One goroutine a queue takes all the requests that the driver has made available, hands them to the backend in one Submit,
// and looks for more before it asks for the next kick: a busy guest never kicks. What the backend can answer at once is
// complete when Submit returns and costs one interrupt for the whole batch; the rest completes on the backend's
// goroutine. Requests are handed over in groups of at most 32 and about 512 KiB, so that the driver gets the first of many
// large ones while the next are read.
//
// A driver that has sent its requests one at a time for a while waits for each of them. Then the goroutine waits too, if the
// backend can ([block.Waiter]): the completion wakes it directly, and not a goroutine of the backend first.
//
// The data of a request is never touched here: the backend gets the guest's buffers as they are.
//
// A limit is asked before a request is taken off its queue, and paid when its size is known: a driver that is held sees a slow disk with a
// full queue, and nothing of it waits in the monitor.
//
// # Invariants
//
// Headers are copied before they are looked at. Each popped chain is pushed once, with its last writable byte as status; a
// chain without one is pushed with nothing written. At most as many requests are in flight as the backend's depth. A
// driver that did not accept F_FLUSH has a write-through disk: each of its writes is flushed before it completes. After
// Stop nothing is in flight.
//
// # Locks
//
// queue.mu guards the used side of the virtqueue and the slots. Nothing of the backend is called under it.
//
// # Limits
//
// Queues of 256 entries, at most 16, which share the backend's depth. Flushes are not limited. Discard and write-zeroes requests have one segment of at most 2 GiB. What storage fails with
// reaches the driver as an I/O error and the log with its cause, the first ten times. Stop waits for storage that hangs.
package blk
