package engine

import "errors"

// pool has memory for tables. First it gets that of one, then as much again as it has, and in the end many at a time: one alone is smaller than a huge page, but a
// store has a pool for each shard.
type pool struct {
	maps  [][]byte // what was allocated; the first one is of one table
	bytes int      // of maps
	fresh []byte   // the part of the last one that was not given yet
	used  [][]byte // what came back
}

// poolTables is how many tables are allocated at once at most: 18 MiB, nine huge pages of amd64.
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
		p, err := allocate(min(max(tableBytes, l.bytes), poolTables*tableBytes), l.bytes > 0)
		if err != nil {
			return nil, err
		}
		l.maps, l.bytes, l.fresh = append(l.maps, p), l.bytes+len(p), p
	}
	p := l.fresh[:tableBytes:tableBytes]
	l.fresh = l.fresh[tableBytes:]
	return p, nil
}

// give takes a table's memory back.
func (l *pool) give(p []byte) { l.used = append(l.used, p) }

// again makes all memory free, that of tables in use, too, and releases it but for a zeroed table's, which it returns. It needs none, so that it cannot fail halfway.
func (l *pool) again() ([]byte, error) {
	var errs []error
	for _, p := range l.maps[1:] {
		errs = append(errs, release(p))
	}
	first := l.maps[0]
	zero(first)
	*l = pool{maps: l.maps[:1], bytes: len(first)}
	return first, errors.Join(errs...)
}

// close releases all memory, that of tables in use, too.
func (l *pool) close() error {
	var errs []error
	for _, p := range l.maps {
		errs = append(errs, release(p))
	}
	*l = pool{}
	return errors.Join(errs...)
}
