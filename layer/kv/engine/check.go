package engine

import (
	"fmt"

	"usui/layer/kv/collection"
	"usui/layer/kv/disk"
)

// Report is what [Check] found.
type Report struct {
	Segments, Spare int    // files of the log; those that wait to be used
	Records, Bytes  uint64 // that check
	Last            uint64 // sequence number
	Torn            int    // segments that end with the remains of a batch that was not acknowledged

	Checkpoint uint64 // sequence number of the last record before it; 0 if there is none
	Ignored    error  // why Open would ignore it
}

// Check verifies every record of the log in a folder, and the checkpoint, changes nothing, and closes the folder. An error that wraps
// [ErrDamaged] names the first place at which something is missing. It needs memory for the index if there is a checkpoint.
func Check(folder disk.Folder, progress func(done, total int64)) (r Report, err error) {
	defer folder.Close() // nothing was written
	files, err := openSegments(folder)
	for _, g := range files.slots {
		defer g.file.Close() // likewise
	}
	if err != nil || len(files.slots) == 0 {
		return Report{}, err
	}
	l := logReader{segments: files, progress: progress}
	with, placed := map[int]bool{}, map[int]bool{} // slots that have something of collections, of values on a device
	err = disk.Guard("read the log", func() error {
		return l.read(func(list []located) error {
			for i := range list {
				if r := list[i].record; r.heads() || r.op().isElement() {
					with[list[i].slot] = true
				}
				if list[i].record.placed() {
					placed[list[i].slot] = true
				}
			}
			return nil
		})
	})
	r = Report{
		Segments: len(files.log), Spare: len(files.free),
		Records: l.records, Bytes: l.bytes, Last: l.seq, Torn: l.remains,
	}
	if err != nil {
		return r, err
	}
	return r, r.checkCheckpoint(folder, files, with, placed)
}

// checkCheckpoint returns an error if Open would believe a checkpoint that is not true.
func (r *Report) checkCheckpoint(folder disk.Folder, files segments, with, placed map[int]bool) error {
	c, file, err := openCheckpoint(folder, files.checkpoint)
	if file != nil {
		defer file.Close() // it was only read
	}
	if err != nil || c == nil {
		r.Ignored = err
		return nil
	}
	if _, r.Ignored = c.fits(&files); r.Ignored != nil {
		return nil
	}
	s, err := newStore(folder, Options{SegmentBytes: c.segmentBytes, Limits: collection.DefaultLimits()})
	if err != nil {
		return err
	}
	defer s.shards[0].index.close() // nothing depends on it any more
	s.slots.Store(&files.slots)
	s.log = files.log
	if err := disk.Guard("read the checkpoint", func() error { return s.compareCheckpoint(c, &files, with, placed) }); err != nil {
		return fmt.Errorf("%s: %w", files.checkpoint, err)
	}
	r.Checkpoint = c.at.seq
	return nil
}

// compareCheckpoint looks up every record to which a checkpoint leads, and adds up what is live.
func (s *Store) compareCheckpoint(c *checkpoint, files *segments, with, placed map[int]bool) error {
	for _, m := range c.marks {
		if m.slot >= len(files.slots) || m.slot == c.at.slot {
			continue
		}
		if g := files.slots[m.slot]; g.epoch == m.epoch && g.state == inLog && (g.end != m.end || with[m.slot] != m.collections || placed[m.slot] != m.placed) {
			return fmt.Errorf("%w: it says that %s ends at %#x, and has collections: %v, values on a device: %v; found %#x, %v and %v", ErrDamaged, segmentName(m.slot), m.end, m.collections, m.placed, g.end, with[m.slot], placed[m.slot])
		}
	}
	if _, err := s.resume(c, files); err != nil {
		return err
	}
	live := map[int]int64{}
	var wrong error
	for cursor, first := uint64(0), true; (first || cursor != 0) && wrong == nil; first = false {
		at := cursor
		cursor = s.walkEntries(cursor, func(e uint64) {
			g, off := s.locate(addressIn(e))
			r, ok := parse(g.view[off:], g.seed)
			if !ok || r.op() != opPut || r.seq() > c.at.seq || !leads(e, at, s.hash(r.key()), r.expire() != 0) {
				wrong = fmt.Errorf("%w: what it says is at %#x of %s is not there", ErrDamaged, off, segmentName(g.slot))
				return
			}
			live[g.slot] += int64(r.padded())
		})
	}
	for _, g := range files.log {
		if wrong == nil && live[g.slot] != g.live.Load() {
			wrong = fmt.Errorf("%w: it says that %d bytes are live in %s, and leads to %d", ErrDamaged, g.live.Load(), segmentName(g.slot), live[g.slot])
		}
	}
	return wrong
}

// leads says whether an entry that was met at a cursor is that of a key with such a hash.
func leads(entry, cursor, hash uint64, expiring bool) bool {
	return entry>>tagShift == hash>>tagShift && cursor&(buckets-1) == hash&(buckets-1) && (entry&expires != 0) == expiring
}
