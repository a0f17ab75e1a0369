package front

import "sync/atomic"

// Stats are counters since the mount was made.
type Stats struct {
	Passed  uint64 // opens for which the kernel reads and writes itself
	Carried uint64 // reads and writes that came here
	Open    uint64 `metric:"gauge"` // files and folders that are open
}

// counters are those that Stats tells.
type counters struct{ passed, carried atomic.Uint64 }

// Stats is what was done so far.
func (d *Mount) Stats() Stats {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return Stats{d.fs.count.passed.Load(), d.fs.count.carried.Load(), uint64(len(d.fs.opened))}
}
