package initrd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// ErrNoModule is wrapped by the error of [Modules.Closure] for a name that the kernel has neither as a module nor built in.
var ErrNoModule = errors.New("the kernel has no such module")

// Modules is the index of one kernel's modules, as depmod writes it.
type Modules struct {
	dir     string              // lib/modules/RELEASE
	paths   map[string]string   // module name -> path below dir
	needs   map[string][]string // module name -> names of the modules it needs directly or indirectly
	builtin map[string]bool     // module names that are part of the kernel image
}

// OpenModules reads the index of the kernel release whose modules lie in root/lib/modules/release. It runs depmod when there is
// no modules.dep yet, which needs a writable folder.
func OpenModules(ctx context.Context, root, release string) (*Modules, error) {
	dir := filepath.Join(root, "lib/modules", release)
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if errors.Is(err, fs.ErrNotExist) {
		if err = Depmod(ctx, root, release); err == nil {
			dep, err = os.ReadFile(filepath.Join(dir, "modules.dep"))
		}
	}
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	m := &Modules{dir: dir}
	if m.paths, m.needs, err = parseDep(dep); err != nil {
		return nil, fmt.Errorf("parse %s: %w", filepath.Join(dir, "modules.dep"), err)
	}
	m.builtin = parseBuiltin(builtin)
	return m, nil
}

// Depmod writes modules.dep and its like for the modules below root/lib/modules/release.
func Depmod(ctx context.Context, root, release string) error {
	if info, err := os.Stat(filepath.Join(root, "lib/modules", release)); err != nil {
		return err
	} else if !info.IsDir() {
		return &fs.PathError{Op: "depmod", Path: filepath.Join(root, "lib/modules", release), Err: errors.New("not a directory")}
	}
	tool, err := exec.LookPath("depmod")
	if err != nil {
		// A user's PATH on Debian has no sbin.
		if tool, err = exec.LookPath("/sbin/depmod"); err != nil {
			return errors.New("depmod is not installed: apt-get install kmod")
		}
	}
	out, err := exec.CommandContext(ctx, tool, "-b", root, release).CombinedOutput()
	if err != nil {
		return fmt.Errorf("depmod -b %s %s: %w: %s", root, release, err, bytes.TrimSpace(out))
	}
	return nil
}

// parseDep reads the lines "PATH: PATH PATH..." of a modules.dep.
func parseDep(content []byte) (paths map[string]string, needs map[string][]string, err error) {
	paths, needs = map[string]string{}, map[string][]string{}
	for number, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		file, rest, found := strings.Cut(line, ":")
		name := moduleName(file)
		if !found || name == "" || !filepath.IsLocal(file) {
			return nil, nil, fmt.Errorf("line %d: %.80q is not of the form PATH: PATH", number+1, line)
		}
		paths[name] = file
		for _, need := range strings.Fields(rest) {
			needs[name] = append(needs[name], moduleName(need))
		}
	}
	return paths, needs, nil
}

func parseBuiltin(content []byte) map[string]bool {
	builtin := map[string]bool{}
	for file := range strings.FieldsSeq(string(content)) {
		builtin[moduleName(file)] = true
	}
	return builtin
}

// moduleName gives the name of the module in a file: without folder and ending, with underscores, which the kernel takes for the
// same as dashes.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	if name == "." || name == "/" {
		return ""
	}
	return strings.ReplaceAll(name, "-", "_")
}

// Has reports whether the kernel has the module, as a file or built in.
func (m *Modules) Has(name string) bool {
	name = moduleName(name)
	return m.paths[name] != "" || m.builtin[name]
}

// Closure returns the files of the named modules and of all that they need, each after what it needs, as paths below
// lib/modules/RELEASE. Modules that are built into the kernel need no file. A name that the kernel does not have gives an error
// that wraps [ErrNoModule]; dashes and underscores in names are the same.
func (m *Modules) Closure(names ...string) ([]string, error) {
	var files []string
	state := map[string]visit{}
	for _, name := range names {
		var err error
		if files, err = m.visit(moduleName(name), state, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// visit is how far the depth-first walk of Closure has come with a module.
type visit int

const (
	unseen visit = iota
	open         // its dependencies are being visited: meeting it again is a circle
	done
)

func (m *Modules) visit(name string, state map[string]visit, files []string) ([]string, error) {
	switch {
	case state[name] == done:
		return files, nil
	case state[name] == open:
		return nil, fmt.Errorf("module %s depends on itself", name)
	case m.paths[name] == "" && m.builtin[name]:
		return files, nil
	case m.paths[name] == "":
		return nil, fmt.Errorf("module %s: %w", name, ErrNoModule)
	}
	state[name] = open
	for _, need := range m.needs[name] {
		var err error
		if files, err = m.visit(need, state, files); err != nil {
			return nil, fmt.Errorf("module %s needs %w", name, err)
		}
	}
	state[name] = done
	return append(files, m.paths[name]), nil
}

// Read returns the module in a file that [Modules.Closure] named, unpacked and without its signature: apt has verified the package
// that it comes from, and to verify it again takes an emulated guest a good part of its boot. The kernel notes that in its taint.
func (m *Modules) Read(file string) ([]byte, error) {
	packed, err := os.ReadFile(filepath.Join(m.dir, file))
	if err != nil {
		return nil, err
	}
	module, err := Decompress(packed)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	return withoutSignature(module), nil
}

// Layout of a signed module's end (scripts/sign-file.c, include/linux/module_signature.h): signature, description, magic.
const (
	signatureMagic       = "~Module signature appended~\n"
	signatureDescription = 12 // bytes; the last four are the length of the signature, big-endian
)

// withoutSignature cuts a signature off; a module that has none, or one that makes no sense, stays as it is.
func withoutSignature(module []byte) []byte {
	body, signed := bytes.CutSuffix(module, []byte(signatureMagic))
	if !signed || len(body) < signatureDescription {
		return module
	}
	length := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	end := int64(len(body)) - signatureDescription - length
	if end < 0 {
		return module
	}
	return module[:end]
}
