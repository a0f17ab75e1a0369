package scan

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"usui/layer/blind/input"
	"usui/layer/blind/terminator"
)

// Format is how a file holds code.
type Format string

// The formats.
const (
	Auto    Format = ""        // whichever of the others but Raw it is
	Wazero  Format = "wazero"  // a file of wazero's compilation cache
	ELF     Format = "elf"     // programs, libraries, objects, and what wasmtime compiles
	Jitdump Format = "jitdump" // what V8 writes with --perf-prof
	Raw     Format = "raw"     // code and nothing else
)

// ParseFormat reads the name of a format, or "auto".
func ParseFormat(text string) (Format, error) {
	switch f := Format(text); f {
	case Wazero, ELF, Jitdump, Raw:
		return f, nil
	case "auto":
		return Auto, nil
	}
	return Auto, fmt.Errorf("format %q: want wazero, elf, jitdump, raw or auto", text)
}

// program is the code that a file holds.
type program struct {
	arch     terminator.Arch
	known    bool // the file says the architecture
	segments []segment
	size     uint64 // of the code of ELF files
}

// File scans the code in a file.
func File(path string, o Options) (Report, error) {
	return file(path, nil, o)
}

// file is File; "-" is standard input, unless that is nil.
func file(path string, stdin io.Reader, o Options) (Report, error) {
	content, err := input.Read(path, stdin)
	if err != nil {
		return Report{}, err
	}
	if o.Format == Auto {
		if o.Format = recognise(content); o.Format == Auto {
			return Report{}, fmt.Errorf("%s is neither a file of wazero's cache nor ELF nor a jitdump: name its format", path)
		}
	}
	p, err := parse(o.Format, content)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := p.choose(path, o); err != nil {
		return Report{}, err
	}
	r, err := newReport(p.arch, o)
	if err != nil {
		return r, err
	}
	r.File, r.Format = path, o.Format
	for _, seg := range p.segments {
		if err := r.add(p.arch, seg, o); err != nil {
			return Report{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	r.finish()
	return r, nil
}

// recognise tells a format by the first bytes.
func recognise(content []byte) Format {
	switch {
	case bytes.HasPrefix(content, wazeroMagic):
		return Wazero
	case bytes.HasPrefix(content, elfMagic):
		return ELF
	case bytes.HasPrefix(content, jitdumpMagic):
		return Jitdump
	}
	return Auto
}

// parse reads the code of a file in a format.
func parse(f Format, content []byte) (program, error) {
	switch f {
	case Wazero:
		return parseWazero(content)
	case ELF:
		return parseELF(content)
	case Jitdump:
		return parseJitdump(content)
	case Raw:
		return program{segments: []segment{{code: content}}}, nil
	}
	return program{}, fmt.Errorf("unknown format %q", string(f))
}

// choose settles the architecture. A cache file has none in it, but its folder is named for it, as in wazero-v1.12.0-amd64-linux.
func (p *program) choose(path string, o Options) error {
	if !p.known && o.Format == Wazero {
		if parts := strings.Split(filepath.Base(filepath.Dir(path)), "-"); len(parts) >= 3 && parts[0] == "wazero" {
			a, err := terminator.ParseArch(parts[len(parts)-2])
			p.arch, p.known = a, err == nil
		}
	}
	if o.Arch == "" {
		if !p.known {
			return fmt.Errorf("%s does not say for which architecture it is: name that with --arch", path)
		}
		return nil
	}
	a, err := terminator.ParseArch(o.Arch)
	if err != nil {
		return err
	}
	if p.known && a != p.arch {
		return fmt.Errorf("%s is for %v, not %v", path, p.arch, a)
	}
	p.arch = a
	return nil
}
