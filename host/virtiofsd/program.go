package virtiofsd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"usui/host/probe"
)

// program is an installed virtiofsd.
type program struct {
	path string
	rust bool // the one in Rust, whose options are others
}

// Fact says whether virtiofsd is installed.
func Fact() probe.Fact {
	return probe.Tool("virtiofsd", "qemu-system-common (Debian 12) or virtiofsd (later)")
}

// find finds the program; the error says how to install it.
func find(ctx context.Context) (program, error) {
	f := Fact()
	if !f.OK {
		return program{}, fmt.Errorf("%s: %s", f.Detail, f.Remedy)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// Without root the one in C cannot even say its version.
	out, err := exec.CommandContext(ctx, f.Detail, "--version").Output()
	return program{path: f.Detail, rust: err == nil && isRust(string(out))}, nil
}

// isRust tells the programs apart by "virtiofsd 1.13.2" and "virtiofsd version 7.2.22 (Debian ...)".
func isRust(version string) bool { return !strings.HasPrefix(version, "virtiofsd version ") }

// sandboxes are the ways to confine the program, the best first.
func (p program) sandboxes() ([]string, error) {
	switch {
	case os.Geteuid() == 0:
		return []string{"namespace", "chroot"}, nil
	case p.rust:
		return []string{"namespace", "none"}, nil
	}
	return nil, fmt.Errorf("%s needs root: run as root, or install the virtiofsd in Rust, which does not (Debian 13 has it, package virtiofsd)", p.path)
}

// args are the program's arguments. The listening socket is descriptor fd.
func (p program) args(cfg Config, sandbox string, fd int) []string {
	if !p.rust {
		// Commas end an option, unless they are escaped.
		folder := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(cfg.Folder)
		return []string{fmt.Sprintf("--fd=%d", fd), "-o", "source=" + folder, "-o", "sandbox=" + sandbox, "-o", "log_level=warn"}
	}
	args := []string{fmt.Sprintf("--fd=%d", fd), "--shared-dir=" + cfg.Folder, "--sandbox=" + sandbox, "--log-level=warn"}
	if cfg.ReadOnly && os.Geteuid() != 0 {
		args = append(args, "--readonly")
	}
	return args
}
