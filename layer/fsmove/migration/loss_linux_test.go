package migration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usui/host/need"
	"usui/layer/fsmove/journal"
	"usui/layer/fsmove/tree"
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
	n := 0
	for _, err := range m.Skipped() {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 4 {
		t.Errorf("%d things were left out, want 4", n)
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

// TestANameThatIsTooLongIsLeftOut has names as no file system here can have, of a file and of one more name.
func TestANameThatIsTooLongIsLeftOut(t *testing.T) {
	need.Root(t)
	umask(t)
	m := begin(t, t.TempDir(), t.TempDir())
	w := &maker{m: m, src: &folder{fd: -1}, dst: m.dst.Fd(), change: m.journal.Change(), met: map[journal.Inode]*journal.Link{}}
	long := strings.Repeat("n", 300)
	meta := tree.Meta{Mode: unix.S_IFREG | 0o644, Links: 1, Ino: 7}
	several := tree.Meta{Mode: unix.S_IFREG | 0o644, Links: 2, Ino: 8}
	unknown := tree.Meta{Mode: 0o170000, Links: 1}
	for _, e := range []found{{name: "good", meta: meta}, {name: long, meta: meta}, {name: "several", ino: 8, meta: several}, {name: long + "too", ino: 8, meta: several}, {name: "unknown", meta: unknown}} {
		e.path = e.name
		if err := w.entry(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	w.unlock()
	if err := w.change.Apply(); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, l := range skipped(t, m) {
		left = append(left, l.Path)
	}
	if want := []string{long, long + "too", "unknown"}; !slices.Equal(left, want) {
		t.Errorf("left out: %q, want %q", left, want)
	}
	all, err := os.ReadDir(m.dst.Path())
	if err != nil || len(all) != 3 { // with the StateFolder
		t.Errorf("there are %v, %v", all, err)
	}
}
