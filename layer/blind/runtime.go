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
	o = o.withDefaults()
	c, err := newCompiler(ctx, config, o.scans())
	if err != nil {
		return nil, err
	}
	return &Runtime{c.Runtime, c, o}, nil
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
	var compiled wazero.CompiledModule // the last whole one
	compile := func(module []byte, whole bool) (found scan.Report, err error) {
		if whole && compiled != nil {
			if err := compiled.Close(ctx); err != nil {
				return found, err
			}
			compiled = nil
		}
		c, found, err := r.compiler.compile(ctx, module, w.search())
		if err == nil && !whole {
			err = c.Close(ctx)
		} else if err == nil {
			compiled = c
		}
		return found, err
	}
	if !w.o.scans() {
		blinded, report, err := w.assemble(nil)
		if err == nil {
			_, err = compile(blinded, true)
		}
		return compiled, report, err
	}
	if err := w.keys.some(); err != nil { // what is the same as before, wazero does not compile again
		return nil, Report{}, err
	}
	_, report, err := w.scanned(ctx, compile)
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
