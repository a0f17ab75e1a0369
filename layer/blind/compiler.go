package blind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"usui/layer/blind/scan"
)

// compiler is a wazero runtime whose machine code we can read: its cache writes a file for each module it compiles. That file is removed as soon as it
// was read. The folder is for this user alone, and in memory where there is a file system for that.
type compiler struct {
	wazero.Runtime
	dir   string // "" if no code is to be read
	cache wazero.CompilationCache

	mu sync.Mutex // one module's file is in the folder at a time
}

// newCompiler returns one for a configuration, whose cache is replaced. scans says that code is to be read.
func newCompiler(ctx context.Context, config wazero.RuntimeConfig, scans bool) (_ *compiler, err error) {
	c := &compiler{}
	defer func() {
		if err != nil {
			c.close(ctx)
		}
	}()
	if scans {
		if c.dir, err = os.MkdirTemp(memoryFolder(), fmt.Sprintf("usui-blind-%d-", os.Getpid())); err != nil {
			return nil, err
		}
		if c.cache, err = wazero.NewCompilationCacheWithDir(c.dir); err != nil {
			return nil, err
		}
	}
	c.Runtime = wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(c.cache))
	return c, nil
}

// compilerConfig is that of a runtime which nothing runs on.
func compilerConfig(features api.CoreFeatures) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithDebugInfoEnabled(false)
}

// memoryFolder returns a folder whose files never reach a disk, or "" for the system's usual one.
func memoryFolder() string {
	const shm = "/dev/shm" // a tmpfs by the Filesystem Hierarchy Standard's Linux annex
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

// close releases what there is. A compilation that was left behind keeps the runtime, which is released with the last that refers to it.
func (c *compiler) close(ctx context.Context) error {
	failed := []error{c.removeFolder()}
	if !c.mu.TryLock() {
		return failed[0]
	}
	defer c.mu.Unlock()
	if c.Runtime != nil {
		failed = append(failed, c.Runtime.Close(ctx))
	}
	if c.cache != nil {
		failed = append(failed, c.cache.Close(ctx))
	}
	return errors.Join(failed...)
}

// removeFolder ends what can be read: nothing compiles from then on. The folder loses its name first, so that a compilation that
// was left behind finds none to write to.
func (c *compiler) removeFolder() error {
	if c.dir == "" {
		return nil
	}
	nameless := c.dir + ".old"
	if err := os.Rename(c.dir, nameless); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(nameless)
}

// code is a module that was compiled, and what is in its code.
type code struct {
	compiled wazero.CompiledModule
	found    scan.Report
}

// compile compiles a module and scans its machine code, if there is a folder for it. It returns when ctx ends, and leaves a compilation behind.
func (c *compiler) compile(ctx context.Context, module []byte, o scan.Options) (wazero.CompiledModule, scan.Report, error) {
	r, err := untilDone(ctx, func(ctx context.Context) (r code, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.compiled, err = compileModule(ctx, c.Runtime, module); err != nil {
			return code{}, err
		}
		if r.found, err = c.scanCode(o); err != nil {
			return code{}, errors.Join(err, r.compiled.Close(ctx))
		}
		return r, nil
	})
	return r.compiled, r.found, err
}

// errCompile stands for whatever wazero says of a rewritten module: it may quote bytes that come of keys.
var errCompile = errors.New("wazero cannot compile the rewritten module, though the original one is valid: please report this")

// compileModule is the runtime's CompileModule for a rewritten module, which panics for none.
func compileModule(ctx context.Context, r wazero.Runtime, module []byte) (compiled wazero.CompiledModule, err error) {
	defer func() {
		if recover() != nil {
			compiled, err = nil, errCompile
		}
	}()
	ctx = experimental.WithCompilationWorkers(ctx, 1) // in this goroutine, for a panic in another one ends the process
	if compiled, err = r.CompileModule(ctx, module); err != nil {
		return nil, errCompile
	}
	return compiled, nil
}

// scanCode scans and removes the file that the cache has written. A module without functions has none.
func (c *compiler) scanCode(o scan.Options) (r scan.Report, err error) {
	if c.dir == "" {
		return r, nil
	}
	files, err := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	if err != nil || len(files) == 0 {
		return r, err
	}
	o.Arch, o.Format = runtime.GOARCH, scan.Wazero
	r, err = scan.File(files[0], o)
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return r, err
}
