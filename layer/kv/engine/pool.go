package engine

import "errors"

// pool has memory for tables, which it gets many at a time: one alone is smaller than a huge page.
type pool struct {
	maps  [][]byte // what was allocated
	fresh []byte   // the part of the last one that was not given yet
	used  [][]byte // what came back
}

// poolTables is how many tables are allocated at once: 18 MiB, nine huge pages of amd64. The kernel gives memory when it is touched.
const poolTables = 16

// take returns zeroed memory for a table.
func (l *pool) take() ([]byte, error) {
	if n := len(l.used); n > 0 {
		p := l.used[n-1]
		l.used = l.used[:n-1]
		clear(p)
		return p, nil
	}
	if len(l.fresh) == 0 {
		p, err := allocate(poolTables * tableBytes)
		if err != nil {
			return nil, err
		}
		l.maps, l.fresh = append(l.maps, p), p
	}
	p := l.fresh[:tableBytes:tableBytes]
	l.fresh = l.fresh[tableBytes:]
	return p, nil
}

// give takes a table's memory back.
func (l *pool) give(p []byte) { l.used = append(l.used, p) }

// close releases all memory, that of tables in use, too.
func (l *pool) close() error {
	var errs []error
	for _, p := range l.maps {
		errs = append(errs, release(p))
	}
	*l = pool{}
	return errors.Join(errs...)
}
