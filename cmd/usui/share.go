package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"usui/host/virtiofsd"
	"usui/internal/cli"
	"usui/internal/lab"
	"usui/internal/pid1/wire"
	"usui/machine/virtio/fs"
)

// shareFolder is where the default guest mounts shared folders, each at its tag.
const shareFolder = "/share/"

// maxShares is how many folders a user can want: each is a device and a process.
const maxShares = 8

// share is a folder of the host that the guest can use.
type share struct {
	path, tag string
	readOnly  bool
}

// sharePart are a machine's shared folders.
type sharePart struct{ list []share }

func (p *sharePart) flags(f *flag.FlagSet) {
	usage := "let the guest use the folder `path[:tag][,ro]`, at /share/tag in the default guest; others mount -t virtiofs tag; may be repeated"
	f.Func("share", usage, func(text string) error {
		s, err := parseShare(text)
		p.list = append(p.list, s)
		return err
	})
}

// parseShare parses path[:tag][,ro]. The name of a folder that is there may hold colons and commas.
func parseShare(text string) (share, error) {
	path, readOnly := strings.CutSuffix(text, ",ro")
	s := share{path: path, readOnly: readOnly}
	if !isFolder(path) {
		if i := strings.LastIndexByte(path, ':'); i >= 0 {
			s.path, s.tag = path[:i], path[i+1:]
			if s.tag == "" {
				return s, fmt.Errorf("%q has an empty tag: write %s:TAG, or leave the colon out", text, s.path)
			}
		}
	}
	if s.path == "" {
		return s, fmt.Errorf("%q names no folder: write PATH, PATH:TAG or PATH:TAG,ro", text)
	}
	path, err := filepath.Abs(s.path)
	if err != nil {
		return s, err
	}
	if s.path = path; s.tag == "" {
		if s.tag = filepath.Base(path); path == "/" {
			s.tag = "root"
		}
	}
	return s, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (p *sharePart) check() error {
	if len(p.list) > maxShares {
		return cli.UsageError("%d shared folders: a machine has at most %d", len(p.list), maxShares)
	}
	seen := map[string]string{}
	for _, s := range p.list {
		switch other, twice := seen[s.tag]; {
		case len(s.tag) > fs.MaxTag:
			return cli.UsageError("--share %s: the tag %q has %d bytes, and at most %d fit; write %s:TAG", s.path, s.tag, len(s.tag), fs.MaxTag, s.path)
		case s.tag == "." || s.tag == ".." || strings.ContainsFunc(s.tag, isBadInTag):
			return cli.UsageError("--share %s: the tag %q is no name for a folder of the guest; write %s:TAG", s.path, s.tag, s.path)
		case twice:
			return cli.UsageError("--share %s: the tag %q is that of %s already; write %s:TAG", s.path, s.tag, other, s.path)
		}
		seen[s.tag] = s.path
	}
	return nil
}

func isBadInTag(r rune) bool {
	return r == '/' || r == ':' || r == unicode.ReplacementChar || unicode.IsControl(r)
}

// checkHost refuses folders that are not there, and a host without virtiofsd.
func (p *sharePart) checkHost() error {
	for _, s := range p.list {
		info, err := os.Stat(s.path)
		if err != nil {
			return fmt.Errorf("--share: %w; name a folder that is there", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("--share %s: not a folder; share the one that it is in, or attach a disk image by --disk", s.path)
		}
	}
	if f := virtiofsd.Fact(); len(p.list) > 0 && !f.OK {
		return fmt.Errorf("--share: %s: %s", f.Detail, f.Remedy)
	}
	return nil
}

// argv has each path as one that ends with a slash: so the lab sees the name of a folder in /tmp.
func (p *sharePart) argv() (argv []string) {
	for _, s := range p.list {
		text := s.path + "/:" + s.tag
		if s.readOnly {
			text += ",ro"
		}
		argv = append(argv, "--share", text)
	}
	return argv
}

// prepareLab has nothing to prepare: the host's folders are there, but nothing in a lab can change them.
func (p *sharePart) prepareLab(cfg *lab.Config) error {
	for _, s := range p.list {
		if !s.readOnly && cfg.Progress != nil {
			fmt.Fprintf(cfg.Progress, "usui: run: --share %s: inside the lab nothing can change this host's files: "+
				"what the guest writes there fails, or in /tmp is lost\n", s.path)
		}
	}
	return nil
}

func (p *sharePart) build(ctx context.Context, b *builder) error {
	for _, s := range p.list {
		if err := s.build(ctx, b); err != nil {
			return fmt.Errorf("--share %s: %w", s.path, err)
		}
	}
	return nil
}

// build starts virtiofsd for one folder, adds the device, and sees to it that the guest mounts it.
func (s share) build(ctx context.Context, b *builder) error {
	folder, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return err
	}
	server, err := virtiofsd.Start(ctx, virtiofsd.Config{Folder: folder, ReadOnly: s.readOnly})
	if err != nil {
		return err
	}
	if server.Sandbox != "namespace" {
		b.ev.note("share", fmt.Sprintf("--share %s: virtiofsd runs with sandbox %s, for it got no namespaces of its own here", s.path, server.Sandbox))
	}
	device, err := fs.New(fs.Config{Tag: s.tag, Client: server.Client, End: server.End, Log: b.cfg.Log})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	b.attach("share "+s.tag, device, server, source{Kind: "share", Name: s.tag, Detail: s.path, stats: func() any { return device.Stats() }})
	options := ""
	if s.readOnly {
		options = "ro"
	}
	b.steps = append(b.steps, wire.Mount("virtiofs", s.tag, shareFolder+s.tag, options))
	return nil
}
