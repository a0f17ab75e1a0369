package migration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatTheDestinationRefusesIsReported has one that takes smaller files and attributes than the source.
func TestWhatTheDestinationRefusesIsReported(t *testing.T) {
	umask(t)
	src, dst := makeDisk(t, 8), makeDisk(t, 128, "-b", "1024")
	at := func(name string) string { return filepath.Join(src.at, name) }
	err := errors.Join(os.Mkdir(at("folder"), 0o755), os.WriteFile(at("folder/ordinary"), []byte("content"), 0o644), os.WriteFile(at("folder/huge"), nil, 0o644),
		os.Truncate(at("folder/huge"), 8<<40), // more than 2^32 blocks of 1 KiB
		os.Link(at("folder/huge"), at("folder/huge too")),
		os.WriteFile(at("folder/attribute"), []byte("content"), 0o644),
		unix.Setxattr(at("folder/attribute"), "user.large", bytes.Repeat([]byte{1}, 3000), 0), // more than a block
		unix.Setxattr(at("folder/attribute"), "user.small", []byte{1}, 0),
		os.WriteFile(at("lost+found/found"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	m := begin(t, src.at, dst.at)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = killed(t, m, src.at, dst.at)
	want := []string{"folder/attribute", "folder/huge", "folder/huge too", "lost+found"}
	lost := skipped(t, m)
	for i, l := range lost {
		if i >= len(want) || l.Path != want[i] || l.What == "" {
			t.Errorf("left out: %q, want %q", lost, want)
			break
		}
	}
	if len(lost) != len(want) {
		t.Errorf("left out: %q, want %q", lost, want)
	}
	for _, name := range []string{"folder/ordinary", "folder/attribute"} {
		if got, err := os.ReadFile(filepath.Join(dst.at, name)); err != nil || string(got) != "content" {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	names := make([]byte, 100)
	if n, err := unix.Listxattr(filepath.Join(dst.at, "folder/attribute"), names); err != nil || string(names[:n]) != "user.small\x00" {
		t.Errorf("attributes %q, %v; want the small one", names[:max(n, 0)], err)
	}
	if all, err := os.ReadDir(filepath.Join(dst.at, "folder")); err != nil || len(all) != 2 {
		t.Errorf("the folder has %v, %v; want what is not too large", all, err)
	}
	if err := m.Finish(); err != nil {
		t.Error(err)
	}
}
