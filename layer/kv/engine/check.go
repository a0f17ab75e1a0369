package engine

import "usui/layer/kv/disk"

// Report is what [Check] found.
type Report struct {
	Segments, Spare int    // files of the log; those that wait to be used
	Records, Bytes  uint64 // that check
	Last            uint64 // sequence number
	Torn            int    // segments that end with the remains of a batch that was not acknowledged
}

// Check verifies every record of the log in a folder, changes nothing, and closes the folder. An error that wraps [ErrDamaged] names the
// first place at which something is missing.
func Check(folder disk.Folder, progress func(done, total int64)) (Report, error) {
	defer folder.Close() // nothing was written
	files, err := openSegments(folder)
	for _, g := range files.slots {
		defer g.file.Close() // likewise
	}
	if err != nil || len(files.slots) == 0 {
		return Report{}, err
	}
	l := logReader{segments: files, progress: progress}
	err = disk.Guard("read the log", func() error {
		return l.read(func([]located) error { return nil })
	})
	return Report{
		Segments: len(files.log), Spare: len(files.free),
		Records: l.records, Bytes: l.bytes, Last: l.seq, Torn: l.remains,
	}, err
}
