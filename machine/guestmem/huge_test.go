package guestmem

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
)

func TestNewHugeRefusesPartsOfPages(t *testing.T) {
	for _, r := range []Range{{0, 3 << 20}, {1 << 20, 2 << 20}, {0, pageSize}, {0, 0}} {
		if m, err := NewHuge([]Range{r}); err == nil {
			m.Close()
			t.Errorf("NewHuge(%v) succeeds, want an error", r)
		}
	}
}

func TestWithoutHugePagesTheErrorSaysHowToGetThem(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"nr_hugepages": "10\n", "free_hugepages": "7\n", "resv_hugepages": "4\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		folder string
		want   uint64
		text   string
	}{
		{dir, 8, "guest memory of 8 huge pages of 2 MiB: 3 of the host's 10 are free; as root, echo 15 > " + dir + "/nr_hugepages "},
		{dir, 3, "guest memory of 3 huge pages of 2 MiB: cannot allocate memory, though 3 of the host's 10 are free"},
		{filepath.Join(dir, "none"), 8, "guest memory of 8 huge pages of 2 MiB: cannot allocate memory"},
	} {
		if err := noHugePages(tt.folder, tt.want, unix.ENOMEM); !strings.Contains(err.Error(), tt.text) {
			t.Errorf("noHugePages(%d) = %q, want %q", tt.want, err, tt.text)
		}
	}
}

// TestLabHugePages makes memory of the lab's last huge pages, gives some back and takes them again.
func TestLabHugePages(t *testing.T) {
	const pages = 8
	need.LabHugePages(t, pages)
	m, err := NewHuge([]Range{{0, 4 * hugePage}, {16 << 20, 4 * hugePage}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.PageSize() != hugePage {
		t.Errorf("PageSize() = %d, want %d", m.PageSize(), hugePage)
	}
	if second, err := NewHuge([]Range{{0, hugePage}}); err == nil || !strings.Contains(err.Error(), "nr_hugepages") {
		t.Errorf("a page more than there are: %v, %v; want an error that names nr_hugepages", second, err)
	}
	if err := m.Populate(16<<20+5, 3*hugePage); err != nil {
		t.Fatal(err)
	}
	if got := held(t, m); got != 4*hugePage {
		t.Errorf("Populate of a part of 4 huge pages: %d bytes, want all of them", got)
	}
	fill(t, m)
	for _, tt := range []struct{ gpa, n, want uint64 }{
		{pageSize, hugePage, 0}, // no whole page
		{hugePage - 1, hugePage + 2, hugePage},
		{16<<20 + hugePage, 2*hugePage + pageSize, 2 * hugePage},
	} {
		before := held(t, m)
		if got, err := m.Release(tt.gpa, tt.n); got != tt.want || err != nil {
			t.Errorf("Release(%#x, %#x) = %d, %v, want %d", tt.gpa, tt.n, got, err, tt.want)
		}
		if fell := before - held(t, m); fell != int64(tt.want) {
			t.Errorf("Release(%#x, %#x): the file gave back %d bytes, want %d", tt.gpa, tt.n, fell, tt.want)
		}
	}
	b, err := m.Slice(0, 4*hugePage)
	if err != nil {
		t.Fatal(err)
	}
	if b[hugePage-1] != 0xaa || b[hugePage] != 0 || b[2*hugePage-1] != 0 || b[2*hugePage] != 0xaa {
		t.Error("Release changed other bytes than those of the second page")
	}
	b[hugePage] = 1
	if got := held(t, m); got != 6*hugePage {
		t.Errorf("the file holds %d bytes after a touch, want 6 pages", got)
	}
	if err := m.File().Truncate(hugePage); !errors.Is(err, unix.EPERM) {
		t.Errorf("Truncate = %v, want %v", err, unix.EPERM)
	}
}
