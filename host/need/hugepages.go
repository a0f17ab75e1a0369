package need

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hugePages is how many pages of 2 MiB the machine sets aside (Documentation/admin-guide/mm/hugetlbpage.rst).
const hugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

// LabHugePages is [Lab], with n huge pages of 2 MiB more set aside for the time of the test: that is the whole machine's, so only a lab
// may be asked for it.
func LabHugePages(t testing.TB, n int, features ...string) {
	t.Helper()
	Lab(t, features...)
	if got := addHugePages(t, n); got < n {
		addHugePages(t, -got)
		t.Fatalf("the lab has room for %d huge pages, want %d", got, n)
	}
	t.Cleanup(func() { addHugePages(t, -n) })
}

// addHugePages changes the number by n and tells by how much it changed. Test binaries that run at the same time take turns.
func addHugePages(t testing.TB, n int) int {
	t.Helper()
	f, err := os.OpenFile(hugePages, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	number := func() int {
		b := make([]byte, 32)
		k, err := f.ReadAt(b, 0)
		if k == 0 {
			t.Fatal(err)
		}
		v, err := strconv.Atoi(strings.TrimSpace(string(b[:k])))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := number()
	if _, err := f.WriteAt([]byte(strconv.Itoa(before+n)), 0); err != nil {
		t.Fatal(err)
	}
	return number() - before
}
