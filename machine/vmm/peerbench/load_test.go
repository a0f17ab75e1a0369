package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLoadsReadTheirPlaces(t *testing.T) {
	const size = 4 << 20
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, l := range (operations{50, 70, 5}).loads() {
		places := l.places(size / int64(l.size))
		if len(places) != l.ops {
			t.Errorf("%s: %d places, want %d", l.name, len(places), l.ops)
		}
		for _, p := range places {
			if p < 0 || p%int64(l.size) != 0 || p+int64(l.size) > size {
				t.Fatalf("%s: place %d is not a block of the disk", l.name, p)
			}
		}
		took, err := l.run(path, 0) // not every file system of temporary files knows O_DIRECT
		if err != nil || took <= 0 {
			t.Errorf("%s: run = %v, %v", l.name, took, err)
		}
	}
	if _, err := (load{size: 4096, depth: 1, ops: 1}).run(path+"-absent", 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run on no disk = %v", err)
	}
}

func TestOperationsSurviveTheCommandLine(t *testing.T) {
	want := operations{2000, 4000, 512}
	if got, err := parseOperations(want.word()); err != nil || got != want {
		t.Errorf("parseOperations(%q) = %v, %v", want.word(), got, err)
	}
	if _, err := parseOperations("many"); err == nil {
		t.Error("parseOperations(many) succeeds")
	}
	if got := want.part(1000); got != (operations{2, 4, 1}) {
		t.Errorf("part = %v", got)
	}
}
