package physmem

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTotalIsMemTotal(t *testing.T) {
	got, err := Total()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var want int64 // KiB
	_, rest, _ := strings.Cut(string(text), "MemTotal:")
	if _, err := fmt.Sscan(rest, &want); err != nil {
		t.Fatal(err)
	}
	if got != want<<10 {
		t.Errorf("Total() = %d, MemTotal of /proc/meminfo is %d", got, want<<10)
	}
}
