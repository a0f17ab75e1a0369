package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestStoresAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	want := make([]byte, 1<<12)
	f := OnMemory(pages(make([]byte, len(want))))
	p := make([]byte, 600)
	for i := range 20_000 {
		off, n := random.IntN(len(want)), random.IntN(len(p)>>random.IntN(8))
		for i := range p[:n] {
			p[i] = byte(random.IntN(256))
		}
		got, err := f.WriteAt(p[:n], int64(off))
		if fits := off+n <= len(want); fits != (err == nil) || fits && got != n {
			t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", n, off, got, err)
		}
		if err == nil {
			copy(want[off:], p[:n])
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.View(), want) {
			t.Fatalf("after %d writes, the last of %d bytes at %d, the memory is not what was written", i+1, n, off)
		}
	}
	for _, off := range []int64{-1, 1 << 12, 1 << 40} {
		if _, err := f.WriteAt([]byte{1}, off); err == nil {
			t.Errorf("WriteAt(1 byte, %d) = nil, want an error", off)
		}
	}
}

func TestAStoreAllocatesNothing(t *testing.T) {
	f := OnMemory(pages(make([]byte, 4096)))
	p := make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.WriteAt(p, 8); err != nil || f.Sync() != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("WriteAt and Sync allocate %v times, want 0", n)
	}
}

// TestAFaultIsAnError takes the page away below a mapping, as a device with a bad block does.
func TestAFaultIsAnError(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	m, err := syscall.Mmap(int(file.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	f := OnMemory(pages(m))
	defer syscall.Munmap(m)
	if err := file.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		n   int
		off int64
		ok  bool
	}{{4096, 0, true}, {64, 4096, false}, {3, 4097, false}, {256, 4000, false}, {13, 4083, true}} {
		_, err := f.WriteAt(make([]byte, tt.n), tt.off)
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "write to persistent memory: fault") {
			t.Errorf("WriteAt(%d bytes, %d) = %v with a page missing from 4096 on; want success: %v", tt.n, tt.off, err, tt.ok)
		}
	}
}

func TestPersistentMemoryIsRefusedWhereThereIsNone(t *testing.T) {
	dir := t.TempDir()
	ours := func(string) bool { return true }
	_, err := Open(dir, ours, FSDAX)
	if err == nil || !strings.Contains(err.Error(), "MAP_SYNC") || !strings.Contains(err.Error(), "dax=always") {
		t.Fatalf("Open(fsdax) = %v on a disk, want the reason", err)
	}
	f, err := Open(dir, ours, Auto) // the refusal took no lock
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Immediate() {
		t.Error("auto found persistent memory on a disk")
	}
}
