package blind

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Program is a WASI program (preview 1) that runs with blinded constants.
type Program struct {
	Path string
	Args []string // without its name

	Dirs []Dir
	Env  []string // KEY=VALUE

	Interpreter bool          // no machine code at all
	Timeout     time.Duration // 0: none
	Options     Options
	Report      io.Writer // where the report goes before the program begins; nil: nowhere

	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Dir is a folder of the host that a program may use.
type Dir struct {
	Host, Guest string
	ReadOnly    bool
}

// ParseDir reads HOST[:GUEST][:ro]. Without GUEST the folder has the same path for the program.
func ParseDir(text string) (Dir, error) {
	parts := strings.Split(text, ":")
	d := Dir{Host: parts[0]}
	parts = parts[1:]
	if n := len(parts); n > 0 && parts[n-1] == "ro" {
		d.ReadOnly, parts = true, parts[:n-1]
	}
	switch len(parts) {
	case 0:
		d.Guest = d.Host
	case 1:
		d.Guest = parts[0]
	}
	if d.Host == "" || d.Guest == "" {
		return Dir{}, fmt.Errorf("%q: want HOST[:GUEST][:ro], where neither path has a colon", text)
	}
	return d, nil
}

// ErrTimeout is that a program did not end in time.
var ErrTimeout = errors.New("the program did not end in time")

// Run runs the program and returns its exit status. When ctx ends or the time is over, it returns at once; the program is left behind, and ends
// with the process. Once the program begins, no file holds its code or its keys.
func (p *Program) Run(ctx context.Context) (status uint32, err error) {
	if p.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, p.Timeout, ErrTimeout)
		defer stop()
	}
	module, err := os.ReadFile(p.Path)
	if err != nil {
		return 0, err
	}
	mounts, err := openFolders(p.Dirs)
	if err != nil {
		return 0, err
	}
	o, config := p.Options.withDefaults(), wazero.NewRuntimeConfig()
	if p.Interpreter {
		o.Unscanned, config = true, wazero.NewRuntimeConfigInterpreter()
	}
	r, err := NewRuntime(ctx, config.WithCoreFeatures(o.Features), o)
	if err != nil {
		return 0, errors.Join(err, mounts.close())
	}
	compiled, err := p.compile(ctx, r, module)
	if err != nil {
		return 0, errors.Join(err, r.Close(ctx), mounts.close())
	}
	return untilDone(ctx, func(ctx context.Context) (status uint32, err error) {
		defer func() { err = errors.Join(err, r.Close(ctx), mounts.close()) }()
		_, err = r.InstantiateModule(ctx, compiled, p.config(mounts))
		var exit *sys.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), nil
		}
		return 0, err
	})
}

// compile blinds and compiles the program, and leaves no file behind.
func (p *Program) compile(ctx context.Context, r *Runtime, module []byte) (wazero.CompiledModule, error) {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r.Runtime); err != nil {
		return nil, err
	}
	compiled, report, err := r.Blind(ctx, module)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	if p.Report != nil {
		if err := report.Print(p.Report); err != nil {
			return nil, err
		}
	}
	return compiled, r.compiler.removeFolder()
}

// config is what the program sees of the world.
func (p *Program) config(mounts folders) wazero.ModuleConfig {
	c := wazero.NewModuleConfig().WithFSConfig(mounts.config).WithArgs(append([]string{filepath.Base(p.Path)}, p.Args...)...).
		WithStdin(p.Stdin).WithStdout(p.Stdout).WithStderr(p.Stderr).
		WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().WithSysNanosleep()
	for _, e := range p.Env {
		key, value, _ := strings.Cut(e, "=")
		c = c.WithEnv(key, value)
	}
	return c
}
