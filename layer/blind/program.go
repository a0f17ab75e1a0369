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
	var d Dir
	if rest, ok := strings.CutSuffix(text, ":ro"); ok {
		text, d.ReadOnly = rest, true
	}
	var named bool
	if d.Host, d.Guest, named = strings.Cut(text, ":"); !named {
		d.Guest = d.Host
	}
	if d.Host == "" || d.Guest == "" {
		return Dir{}, fmt.Errorf("%q: want HOST[:GUEST][:ro]", text)
	}
	return d, nil
}

// ErrTimeout is that a program did not end in time.
var ErrTimeout = errors.New("the program did not end in time")

// Run runs the program and returns its exit status. When ctx ends or the time is over, it returns at once; the program is left behind, and ends
// with the process.
func (p *Program) Run(ctx context.Context) (status uint32, err error) {
	module, err := os.ReadFile(p.Path)
	if err != nil {
		return 0, err
	}
	if p.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, p.Timeout, ErrTimeout)
		defer stop()
	}
	type outcome struct {
		status uint32
		err    error
	}
	ended := make(chan outcome, 1)
	go func() { // ends with the program, or with the process
		status, err := p.run(context.WithoutCancel(ctx), module)
		ended <- outcome{status, err}
	}()
	select {
	case o := <-ended:
		return o.status, o.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (p *Program) run(ctx context.Context, module []byte) (status uint32, err error) {
	config := wazero.NewRuntimeConfig()
	if p.Interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	o := p.Options.withDefaults()
	r, err := NewRuntime(ctx, config.WithCoreFeatures(o.Features), o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r.Runtime); err != nil {
		return 0, err
	}
	compiled, report, err := r.Blind(ctx, module)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.Path, err)
	}
	if p.Report != nil {
		if err := report.Print(p.Report); err != nil {
			return 0, err
		}
	}
	_, err = r.InstantiateModule(ctx, compiled, p.config())
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// config is what the program sees of the world.
func (p *Program) config() wazero.ModuleConfig {
	files := wazero.NewFSConfig()
	for _, d := range p.Dirs {
		if d.ReadOnly {
			files = files.WithReadOnlyDirMount(d.Host, d.Guest)
		} else {
			files = files.WithDirMount(d.Host, d.Guest)
		}
	}
	c := wazero.NewModuleConfig().WithFSConfig(files).WithArgs(append([]string{filepath.Base(p.Path)}, p.Args...)...).
		WithStdin(p.Stdin).WithStdout(p.Stdout).WithStderr(p.Stderr).
		WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().WithSysNanosleep()
	for _, e := range p.Env {
		key, value, _ := strings.Cut(e, "=")
		c = c.WithEnv(key, value)
	}
	return c
}
