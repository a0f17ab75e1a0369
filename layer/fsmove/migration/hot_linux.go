package migration

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"usui/layer/fsmove/pace"
	"usui/layer/fsmove/tree"
)

// hotMost is how many files, and how many folders, are remembered as hot. What is more has its turn with all others.
const hotMost = 1024

// hot is what clients are at, which comes before everything else in the background.
type hot struct {
	some atomic.Bool   // there may be something
	asks atomic.Uint64 // how often a client began to wait for a listing

	mu      sync.Mutex
	files   []tree.Handle // guarded by mu; read or written in part
	folders []tree.Handle // guarded by mu; in one that a client looked into
}

// addFile has the rest of a file come next.
func (q *hot) addFile(h tree.Handle) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.files) < hotMost {
		q.files = append(q.files, h)
		q.some.Store(true)
	}
}

// addFolders has folders listed next, after files.
func (q *hot) addFolders(all []tree.Handle) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all = all[:min(len(all), hotMost-len(q.folders))]
	q.folders = append(q.folders, all...)
	if len(all) > 0 {
		q.some.Store(true)
	}
}

// take is what is next, false if there is nothing.
func (q *hot) take() (h tree.Handle, folder, ok bool) {
	if !q.some.Load() {
		return "", false, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.files) > 0:
		h, q.files = q.files[0], q.files[1:]
		return h, false, true
	case len(q.folders) > 0:
		h, q.folders = q.folders[0], q.folders[1:]
		return h, true, true
	}
	q.some.Store(false)
	return "", false, false
}

// next are the first files that are next.
func (q *hot) next() []tree.Handle {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.files[:min(len(q.files), hotTold)])
}

// hotTold is how many paths Hot says at most.
const hotTold = 20

// Hot are paths of files that clients use before they have arrived; no more than 20.
func (m *Migration) Hot() ([]string, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.finished {
		return []string{}, nil
	}
	m.mu.Lock()
	used := slices.Collect(maps.Values(m.files))
	m.mu.Unlock()
	seen := map[string]bool{}
	for _, f := range used {
		f.mu.Lock()
		if f.hot && f.recorded && !f.full {
			seen[f.rec.Path] = true
		}
		f.mu.Unlock()
	}
	for _, h := range m.hot.next() {
		rec, ok, err := m.journal.File(h)
		if err != nil {
			return nil, err
		}
		if ok {
			seen[rec.Path] = true
		}
	}
	all := slices.Sorted(maps.Keys(seen))
	return all[:min(len(all), hotTold)], nil
}

// waits counts that a client begins to wait for a listing.
func (q *hot) waits(ctx context.Context) {
	if !isBackground(ctx) {
		q.asks.Add(1)
	}
}

// listBytes is what the listing of a folder counts as before it is known what is in it: what one getdents64 reads. entryBytes is what each entry of it counts as: a block.
const listBytes, entryBytes = 32 << 10, 4 << 10

// backgroundKey is that of a value in the contexts of what no client waits for.
type backgroundKey struct{}

const (
	inTurn = iota // what clients are at goes before it
	first         // it is what clients are at
)

func isBackground(ctx context.Context) bool { return ctx.Value(backgroundKey{}) != nil }

// ask returns when what ctx is of may do a piece of so many bytes: a client at once. In the background what clients are at is done before. No lock is held.
func (m *Migration) ask(ctx context.Context, bytes int64) error {
	switch ctx.Value(backgroundKey{}) {
	case inTurn:
		m.doHot(context.WithValue(ctx, backgroundKey{}, first))
	case first:
	default:
		return context.Cause(ctx)
	}
	return cmp.Or(context.Cause(ctx), m.pacer.Wait(ctx, bytes), context.Cause(ctx))
}

// doHot does what clients are at. What fails here fails once more in its turn, and is told then.
func (m *Migration) doHot(ctx context.Context) {
	for ctx.Err() == nil {
		h, folder, ok := m.hot.take()
		switch {
		case !ok:
			return
		case folder:
			_, _ = m.listAll(ctx, []tree.Handle{h})
		default:
			_, _ = m.fillAll(ctx, []tree.Handle{h})
		}
	}
}

// Pacer paces what Run does beside clients. Who serves them tells it of their requests.
func (m *Migration) Pacer() *pace.Pacer { return m.pacer }

// Asks is how often a client began to wait for a listing.
func (m *Migration) Asks() uint64 { return m.hot.asks.Load() }
