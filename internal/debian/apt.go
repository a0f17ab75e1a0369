package debian

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// apt runs apt's tools for one architecture, with an index and a cache of our own below dir.
type apt struct {
	arch string
	dir  string
}

// candidate is the version of a package that apt would install.
type candidate struct {
	name, version string
	size          int64    // bytes of the .deb file
	depends       []string // names only, alternatives left out
}

// id is the package's name in the cache; a colon, which stands in versions with an epoch, is written as apt does it.
func (p candidate) id() string { return p.name + "_" + strings.ReplaceAll(p.version, ":", "%3a") }

func (a apt) options() []string {
	return []string{
		"-oAPT::Architecture=" + a.arch, "-oAPT::Architectures=" + a.arch,
		"-oDir::State::Lists=" + filepath.Join(a.dir, "lists"), "-oDir::Cache=" + filepath.Join(a.dir, "cache"),
		// The user _apt, as which apt downloads when root runs it, cannot write to root's cache folder.
		"-oAPT::Sandbox::User=root",
		"-oAcquire::Languages=none", "-oAPT::Update::Post-Invoke-Success=", "-q",
	}
}

// indexFresh is for how long an index is new enough: one run fetches several packages.
const indexFresh = 10 * time.Minute

// update reads the index anew, unless that was done just now. A source that cannot be reached is no error as long as an index is
// there.
func (a apt) update(ctx context.Context, progress io.Writer) error {
	if info, err := os.Stat(a.stamp()); err == nil && time.Since(info.ModTime()).Abs() < indexFresh {
		return nil
	}
	fmt.Fprintf(progress, "usui: read Debian's package index for %s\n", a.arch)
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if _, err := run(ctx, a.dir, "apt-get", append(a.options(), "update")...); err != nil {
		return err
	}
	return os.WriteFile(a.stamp(), nil, 0o644)
}

// stamp is the file whose time says when the index was read.
func (a apt) stamp() string { return filepath.Join(a.dir, "updated") }

// forget lets the next update read the index whatever its age.
func (a apt) forget() {
	// If the stamp cannot be removed, the next update is late by a few minutes.
	_ = os.Remove(a.stamp())
}

// resolve finds the newest version of a package, or of the kernel package that a metapackage depends on.
func (a apt) resolve(ctx context.Context, name string) (candidate, error) {
	// linux-image-amd64 -> linux-image-6.1.0-9-amd64 is one step; a few more do not hurt, an endless circle does.
	for range 4 {
		out, err := run(ctx, a.dir, "apt-cache", append(a.options(), "show", "--no-all-versions", name)...)
		if err != nil {
			return candidate{}, fmt.Errorf("apt does not know the package: check the network, its proxy settings and /etc/apt/sources.list*: %w", err)
		}
		p, err := parseStanza(out)
		if err != nil {
			return candidate{}, err
		}
		next := p.kernel()
		if next == "" {
			return p, nil
		}
		name = next
	}
	return candidate{}, fmt.Errorf("metapackages depend on each other, the last is %s", name)
}

// kernel is the kernel package that p, a metapackage, depends on; empty if p is none.
func (p candidate) kernel() string {
	for _, d := range p.depends {
		if strings.HasPrefix(p.name, "linux-image-") && strings.HasPrefix(d, "linux-image-") {
			return d
		}
	}
	return ""
}

// download puts the package's .deb file into a folder and returns its path. apt checks its hash against the signed index.
func (a apt) download(ctx context.Context, p candidate, folder string) (string, error) {
	if _, err := run(ctx, folder, "apt-get", append(a.options(), "download", p.name+"="+p.version)...); err != nil {
		return "", fmt.Errorf("%w: check the network and its proxy settings", err)
	}
	debs, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d .deb files, want 1", p.name, len(debs))
	}
	return debs[0], nil
}

// parseStanza reads the first paragraph of "apt-cache show".
func parseStanza(out []byte) (candidate, error) {
	var p candidate
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "Package":
			p.name = value
		case "Version":
			p.version = value
		case "Size":
			p.size, _ = strconv.ParseInt(value, 10, 64) // for the progress line only
		case "Depends":
			p.depends = parseDepends(value)
		}
	}
	// Both become part of a path and of a command line.
	for _, word := range []string{p.name, p.version} {
		if word == "" || strings.ContainsAny(word, "/ ") || strings.HasPrefix(word, "-") || strings.HasPrefix(word, ".") {
			return candidate{}, fmt.Errorf("apt-cache show gave package %.80q version %.80q", p.name, p.version)
		}
	}
	return p, lines.Err()
}

func parseDepends(value string) []string {
	var names []string
	for d := range strings.SplitSeq(value, ",") {
		if fields := strings.Fields(d); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names
}

// run runs a tool in a folder and returns what it wrote to stdout. Its error ends with the last thing that the tool said.
func run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// apt's methods are children of its own: they end with it when it is asked to end, and not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%s is not installed: usui takes kernels from Debian; on another system name one with --kernel and --initrd", tool)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", tool, err, lastComplaint(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// lastComplaint is the last line that apt marks as an error or a warning, else the last line.
func lastComplaint(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && (isComplaint(line) || !isComplaint(last)) {
			last = line
		}
	}
	return last
}

func isComplaint(line string) bool {
	return strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "W: ")
}
