package engine

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"usui/layer/kv/disk"
)

// fill writes keys with values of 100 bytes.
func fill(b *testing.B, s *Store, from, to uint64) {
	b.Helper()
	var key [12]byte
	value := make([]byte, 100)
	for i := from; i < to; i++ {
		binary.BigEndian.PutUint64(key[4:], i)
		if err := s.Put(key[:], value, 0); err != nil {
			b.Fatal(err)
		}
		s.Collect()
	}
	if err := s.Drain(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOpen reads a log of 3,000,000 keys that is in the page cache, or a checkpoint of it.
func BenchmarkOpen(b *testing.B) {
	b.Run("log", func(b *testing.B) { benchmarkOpen(b, false) })
	b.Run("checkpoint", func(b *testing.B) { benchmarkOpen(b, true) })
}

func benchmarkOpen(b *testing.B, checkpoint bool) {
	dir, without := b.TempDir(), checkpointName
	if checkpoint {
		without = "nothing"
	}
	open := func() *Store {
		if err := os.Remove(filepath.Join(dir, without)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.Fatal(err)
		}
		folder, err := disk.Open(dir, IsOurs, disk.Ordinary)
		if err != nil {
			b.Fatal(err)
		}
		s, err := Open(folder, Options{Now: func() int64 { return time.Now().UnixMilli() }})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	s := open()
	fill(b, s, 0, 3_000_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var cpu time.Duration
	for range b.N {
		before := cpuTime(b)
		s := open()
		cpu += cpuTime(b) - before
		b.SetBytes(int64(s.stats.Loaded + s.stats.Recovered))
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
}
