package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// headers is an unpacked linux-headers-*-common package.
type headers struct {
	root    string // holds include/uapi and arch/*/include/uapi
	version string // package name and version, as the generated files record it
}

// findHeaders downloads the newest linux-headers-6.12.*-common that apt knows, unless the cache has it.
func findHeaders() (headers, error) {
	name, version, err := newestPackage()
	if err != nil {
		return headers{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return headers{}, err
	}
	dir := filepath.Join(cache, "usui", "headers", name+"_"+version)
	h := headers{root: filepath.Join(dir, "usr/src", name), version: name + " " + version}
	if _, err := os.Stat(h.root); err == nil {
		return h, nil
	}
	return h, unpack(name, version, dir)
}

// newestPackage asks apt's lists; the newest is the one with the highest numbers, not the last in the alphabet.
func newestPackage() (name, version string, err error) {
	out, err := exec.Command("apt-cache", "search", "--names-only", `^linux-headers-6\.12\.[^ ]*-common$`).Output()
	if err != nil {
		return "", "", fmt.Errorf("apt-cache search: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) == 0 {
		return "", "", fmt.Errorf("apt knows no package linux-headers-6.12.*-common; run apt-get update")
	}
	name = slices.MaxFunc(names, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	out, err = exec.Command("apt-cache", "show", "--no-all-versions", name).Output()
	if err != nil {
		return "", "", fmt.Errorf("apt-cache show %s: %w", name, err)
	}
	for line := range strings.Lines(string(out)) {
		if v, found := strings.CutPrefix(line, "Version: "); found {
			return name, strings.TrimSpace(v), nil
		}
	}
	return "", "", fmt.Errorf("apt-cache show %s: no version", name)
}

// numbers returns the runs of digits of a package name: 6, 12, 117, 12.
func numbers(name string) []int {
	var all []int
	for field := range strings.FieldsFuncSeq(name, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(field); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// unpack downloads the package (apt checks its hash against the signed index) and unpacks it below dir.
func unpack(name, version, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	download := exec.Command("apt-get", "download", "-q", name+"="+version)
	download.Dir = tmp
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s=%s: %w\n%s", name, version, err, out)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s=%s: %d packages arrived (%v)", name, version, len(debs), err)
	}
	tree := filepath.Join(tmp, "tree")
	if out, err := exec.Command("dpkg-deb", "-x", debs[0], tree).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w\n%s", debs[0], err, out)
	}
	return os.Rename(tree, dir)
}

// shims are headers that the kernel's build makes and the package does not hold.
var shims = map[string]string{
	"asm/types.h":       "#include <asm-generic/types.h>\n",
	"asm/bitsperlong.h": "#include <asm-generic/bitsperlong.h>\n",
	"asm/posix_types.h": "#include <asm-generic/posix_types.h>\n",
	"asm/ioctl.h":       "#include <asm-generic/ioctl.h>\n",
	// "make headers_install" strips these two and the word instead.
	"linux/compiler_types.h": "",
	"linux/compiler.h":       "#define __user\n",
}

func writeShims(tmp string) error {
	for name, text := range shims {
		path := filepath.Join(tmp, "shim", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// includes returns gcc's flags: the kernel's uapi headers of one architecture and nothing of this machine but
// gcc's own stddef.h, so that the result does not depend on the machine's linux-libc-dev.
func (h headers) includes(arch, tmp string) ([]string, error) {
	own, err := exec.Command("gcc", "-print-file-name=include").Output()
	if err != nil {
		return nil, fmt.Errorf("gcc -print-file-name=include: %w", err)
	}
	return []string{
		"-nostdinc", "-ffreestanding", "-D__EXPORTED_HEADERS__", "-isystem", strings.TrimSpace(string(own)),
		"-I" + filepath.Join(h.root, "include/uapi"),
		"-I" + filepath.Join(h.root, "arch", arch, "include/uapi"),
		"-I" + filepath.Join(tmp, "shim"),
	}, nil
}
