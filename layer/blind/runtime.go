package blind

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"usui/layer/blind/scan"
)

// Runtime is a wazero runtime that blinds each module it compiles, with keys of its own, in memory.
type Runtime struct {
	wazero.Runtime
	compiler *compiler
	o        Options
}

// NewRuntime returns a runtime; it takes the place of [wazero.NewRuntimeWithConfig]. A compilation cache in config is not used: what it would keep holds keys.
func NewRuntime(ctx context.Context, config wazero.RuntimeConfig, o Options) (*Runtime, error) {
	c, err := compilerFor(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Runtime{c.Runtime, c, o.withDefaults()}, nil
}

// CompileModule implements [wazero.Runtime].
func (r *Runtime) CompileModule(ctx context.Context, module []byte) (wazero.CompiledModule, error) {
	compiled, _, err := r.Blind(ctx, module)
	return compiled, err
}

// Blind is CompileModule with a report on what was done to the module.
func (r *Runtime) Blind(ctx context.Context, module []byte) (wazero.CompiledModule, Report, error) {
	w, err := prepare(ctx, module, r.o)
	if err != nil {
		return nil, Report{}, err
	}
	if !w.scans() {
		blinded, report, err := w.assemble(nil)
		if err != nil {
			return nil, report, err
		}
		compiled, err := r.Runtime.CompileModule(ctx, blinded)
		return compiled, report, err
	}
	var compiled wazero.CompiledModule // the last whole one
	_, report, err := w.scanned(func(module []byte, whole bool) (scan.Report, error) {
		c, found, err := r.compiler.compile(ctx, module, w.strictSet())
		if err != nil {
			return found, err
		}
		if !whole {
			return found, c.Close(ctx)
		}
		if compiled != nil {
			err = compiled.Close(ctx)
		}
		compiled = c
		return found, err
	})
	if err != nil && compiled != nil {
		compiled.Close(ctx) // the first error tells more
		compiled = nil
	}
	return compiled, report, err
}

// Instantiate implements [wazero.Runtime].
func (r *Runtime) Instantiate(ctx context.Context, module []byte) (api.Module, error) {
	return r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig())
}

// InstantiateWithConfig implements [wazero.Runtime]. The compiled module is released with the runtime.
func (r *Runtime) InstantiateWithConfig(ctx context.Context, module []byte, config wazero.ModuleConfig) (api.Module, error) {
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return nil, err
	}
	return r.Runtime.InstantiateModule(ctx, compiled, config)
}

// Close implements [wazero.Runtime].
func (r *Runtime) Close(ctx context.Context) error { return r.compiler.close(ctx) }

// CloseWithExitCode implements [wazero.Runtime].
func (r *Runtime) CloseWithExitCode(ctx context.Context, status uint32) error {
	err := r.Runtime.CloseWithExitCode(ctx, status)
	if failed := r.compiler.close(ctx); err == nil {
		err = failed
	}
	return err
}

var _ wazero.Runtime = (*Runtime)(nil)
