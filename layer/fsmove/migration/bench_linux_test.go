package migration

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"usui/layer/fsmove/tree"
)

// BenchmarkList lists a folder of 20,000 small files.
func BenchmarkList(b *testing.B) {
	const entries = 20_000
	src := b.TempDir()
	for i := range entries {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint("file", i)), make([]byte, i%50), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		m, err := New(Config{Source: src, Destination: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		top, err := tree.HandleOf(m.dst.Fd(), "")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := m.List(b.Context(), top); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/entries, "us/entry")
}

// BenchmarkRun moves 20,000 small files that nobody uses.
func BenchmarkRun(b *testing.B) {
	const entries = 20_000
	src := b.TempDir()
	for i := range entries {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint("file", i)), make([]byte, i%20_000+1), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		m, err := New(Config{Source: src, Destination: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(m.Run(b.Context()), m.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/entries, "us/entry")
}
