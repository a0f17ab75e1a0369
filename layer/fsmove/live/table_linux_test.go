package live

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// succeed goes on with a table as another process would.
func succeed(t *testing.T, from *Table) *Table {
	t.Helper()
	fd, err := unix.Dup(from.Fd())
	if err != nil {
		t.Fatal(err)
	}
	next, err := Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	})
	return next
}

func mustNew(t *testing.T) *Table {
	t.Helper()
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// TestASuccessorHasWhatWasThere puts, counts and drops records, more than a chunk has, and looks for them with another mapping of the same memory, which goes on with that.
func TestASuccessorHasWhatWasThere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table, want, slots := mustNew(t), map[uint64]Record{}, map[uint64]Slot{}
	for round := range 3 {
		for range 20_000 {
			r := Record{Kind: byte(1 + random.IntN(3)), Key: 1 + random.Uint64N(30_000), Count: random.Uint64(), Data: make([]byte, 1+random.IntN(MaxData))}
			for i := range r.Data {
				r.Data[i] = byte(random.Uint32())
			}
			if s, ok := slots[r.Key]; ok {
				table.Drop(s)
			}
			s, err := table.Put(r)
			if err != nil {
				t.Fatal(err)
			}
			table.Count(s).Add(3)
			r.Count += 3
			want[r.Key], slots[r.Key] = r, s
		}
		for key, s := range slots {
			if key%3 == 0 {
				table.Drop(s)
				delete(slots, key)
				delete(want, key)
			}
		}
		table = succeed(t, table)
		got := map[uint64]Record{}
		clear(slots)
		for s, r := range table.All() {
			if _, twice := got[r.Key]; twice {
				t.Errorf("round %d: key %d is there twice", round, r.Key)
			}
			got[r.Key], slots[r.Key] = r, s
		}
		if d := cmp.Diff(maps.Collect(maps.All(want)), got); d != "" {
			t.Fatalf("round %d: -want +got\n%s", round, d)
		}
	}
}

func TestTheHeadOutlivesItsProcess(t *testing.T) {
	table := mustNew(t)
	if p := table.Text(); p != nil {
		t.Errorf("Text() = %q at first", p)
	}
	if err := table.SetText(make([]byte, MaxText+1)); err == nil {
		t.Error("a text that is too long was kept")
	}
	if err := table.SetText([]byte("how it began")); err != nil {
		t.Fatal(err)
	}
	table.State().Store(7)
	next := succeed(t, table)
	if p, n := next.Text(), next.State().Load(); string(p) != "how it began" || n != 7 {
		t.Errorf("the successor has %q, %d", p, n)
	}
}

func TestWhatIsNoTableIsRefused(t *testing.T) {
	for _, size := range []int64{0, 100, chunkBytes} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(int(f.Fd())); !errors.Is(err, ErrForeign) {
			t.Errorf("Open of %d bytes = %v, want %v", size, err, ErrForeign)
		}
		f.Close()
	}
	table := mustNew(t)
	for _, r := range []Record{{}, {Key: 1, Data: make([]byte, MaxData+1)}} {
		if _, err := table.Put(r); err == nil {
			t.Errorf("Put(%+v) succeeded", r)
		}
	}
}
