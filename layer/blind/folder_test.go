package blind

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	wazerosys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// buildGuest builds a program of testdata for WASI.
func buildGuest(tb testing.TB, name string) string {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), name+".wasm")
	build := exec.Command("go", "build", "-o", out, ".")
	build.Dir = filepath.Join("testdata", name)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", name, err, text)
	}
	return out
}

// inFolder runs the guest of testdata/folders in a folder and returns what it prints.
func inFolder(t *testing.T, guest, what string, dir Dir) string {
	t.Helper()
	var out bytes.Buffer
	p := Program{Path: guest, Args: []string{what}, Dirs: []Dir{dir}, Env: []string{"PWD=/"}, Interpreter: true, Stdout: &out, Stderr: &out}
	if status, err := p.Run(t.Context()); status != 0 || err != nil {
		t.Fatalf("%s: status %d, %v\n%s", what, status, err, out.String())
	}
	return out.String()
}

// TestProgramsUseTheirFolder: what a program may do has the results that it has in a folder of wazero's own.
func TestProgramsUseTheirFolder(t *testing.T) {
	ctx := t.Context()
	guest := buildGuest(t, "folders")
	module, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	var want bytes.Buffer
	config := wazero.NewModuleConfig().WithFSConfig(wazero.NewFSConfig().WithDirMount(t.TempDir(), "/")).WithEnv("PWD", "/").
		WithArgs("folders", "works").WithStdout(&want)
	if _, err := r.InstantiateWithConfig(ctx, module, config); err != nil {
		t.Fatal(err)
	}
	if got := inFolder(t, guest, "works", Dir{Host: t.TempDir(), Guest: "/"}); got != want.String() || strings.Count(got, "\n") < 20 {
		t.Errorf("got:\n%s\nwant:\n%s", got, want.String())
	}
}

func TestReadOnlyFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := &readOnlyFolder{sysfs.ReadFS{FS: &folder{root: root}}}
	for _, flag := range []wazerosys.Oflag{wazerosys.O_RDONLY | wazerosys.O_TRUNC, wazerosys.O_WRONLY, wazerosys.O_RDWR | wazerosys.O_CREAT} {
		if _, errno := d.OpenFile("f", flag, 0o600); errno != wazerosys.EROFS {
			t.Errorf("open with flags %#x: %v, want %v", flag, errno, wazerosys.EROFS)
		}
	}
	if errno := d.Unlink("f"); errno != wazerosys.EROFS {
		t.Errorf("unlink: %v, want %v", errno, wazerosys.EROFS)
	}
	if _, errno := d.OpenFile("new", wazerosys.O_RDONLY|wazerosys.O_CREAT, 0o600); errno != wazerosys.ENOENT {
		t.Errorf("open and create: %v, want %v", errno, wazerosys.ENOENT)
	}
	f, errno := d.OpenFile("f", wazerosys.O_RDONLY|wazerosys.O_CREAT, 0o600)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.Close()
	content := make([]byte, 8)
	if n, errno := f.Read(content); string(content[:n]) != "kept" || errno != 0 {
		t.Errorf("read: %q, %v", content[:n], errno)
	}
}

func TestProgramsStayInTheirFolder(t *testing.T) {
	guest := buildGuest(t, "folders")
	parent := t.TempDir()
	home := filepath.Join(parent, "home")
	outside := func() string { // what there is to be seen of the parent
		t.Helper()
		text := ""
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			text += e.Name() + " " + info.Mode().String()
			if e.Name() != "home" {
				text += info.ModTime().String()
			}
			text += "\n"
		}
		secret, err := os.ReadFile(filepath.Join(parent, "secret"))
		if err != nil {
			t.Error(err)
		}
		return text + string(secret)
	}
	for _, err := range []error{
		os.MkdirAll(home, 0o755), os.Mkdir(filepath.Join(parent, "empty"), 0o755), os.WriteFile(filepath.Join(parent, "secret"), []byte("secret"), 0o600),
		os.Symlink("secret", filepath.Join(parent, "there")), os.Symlink("..", filepath.Join(home, "up")),
		os.Symlink("../secret", filepath.Join(home, "file")), os.Symlink("/", filepath.Join(home, "root")),
		os.Chtimes(filepath.Join(parent, "secret"), time.Time{}, time.Unix(1_000_000_000, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := outside()
	got := inFolder(t, guest, "escapes", Dir{Host: home, Guest: "/"})
	if after := outside(); after != before {
		t.Errorf("the program changed what is outside:\n%s\nwas:\n%s", after, before)
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "by ") && !strings.HasSuffix(line, ": Operation not permitted\n") {
			t.Errorf("%s", line)
		}
	}
	if n := strings.Count(got, "by "); n < 50 {
		t.Errorf("%d tries, want all that there are:\n%s", n, got)
	}
}
