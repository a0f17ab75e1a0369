package blind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"usui/layer/blind/scan"
	"usui/layer/blind/terminator"
)

// compiler is a wazero runtime whose machine code we can read: its cache writes a file for each module it compiles. That file is removed as soon as it
// was read. The folder is for this user alone, and in memory where there is a file system for that.
type compiler struct {
	wazero.Runtime
	dir   string
	cache wazero.CompilationCache

	mu sync.Mutex // one module's file is in the folder at a time
}

// newCompiler returns one for modules with those features.
func newCompiler(ctx context.Context, features api.CoreFeatures) (*compiler, error) {
	return compilerFor(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithDebugInfoEnabled(false))
}

// compilerFor returns one for a configuration, whose cache is replaced.
func compilerFor(ctx context.Context, config wazero.RuntimeConfig) (_ *compiler, err error) {
	c := &compiler{}
	defer func() {
		if err != nil {
			c.close(ctx)
		}
	}()
	if c.dir, err = os.MkdirTemp(memoryFolder(), "usui-blind-"); err != nil {
		return nil, err
	}
	if c.cache, err = wazero.NewCompilationCacheWithDir(c.dir); err != nil {
		return nil, err
	}
	c.Runtime = wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(c.cache))
	return c, nil
}

// memoryFolder returns a folder whose files never reach a disk, or "" for the system's usual one.
func memoryFolder() string {
	const shm = "/dev/shm" // a tmpfs by the Filesystem Hierarchy Standard's Linux annex
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

func (c *compiler) close(ctx context.Context) error {
	var failed []error
	if c.Runtime != nil {
		failed = append(failed, c.Runtime.Close(ctx))
	}
	if c.cache != nil {
		failed = append(failed, c.cache.Close(ctx))
	}
	if c.dir != "" {
		failed = append(failed, os.RemoveAll(c.dir))
	}
	return errors.Join(failed...)
}

// compile compiles a module and scans its machine code for terminators of those classes.
func (c *compiler) compile(ctx context.Context, module []byte, classes terminator.Set) (wazero.CompiledModule, scan.Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	compiled, err := c.Runtime.CompileModule(ctx, module)
	if err != nil {
		return nil, scan.Report{}, err
	}
	report, err := c.scanCode(classes)
	if err != nil {
		return nil, scan.Report{}, errors.Join(err, compiled.Close(ctx))
	}
	return compiled, report, nil
}

// scanCode scans and removes the file that the cache has written. A module without functions has none.
func (c *compiler) scanCode(classes terminator.Set) (r scan.Report, err error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	if err != nil || len(files) == 0 {
		return r, err
	}
	r, err = scan.File(files[0], scan.Options{Classes: classes, Arch: runtime.GOARCH, Format: scan.Wazero})
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return r, err
}
