package blind

import (
	"context"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// validate checks a module by wazero's rules, for little: what makes listeners is asked for them when a module is valid and not yet
// compiled, and has no way back but a panic. A module without functions is compiled, as is one whose engine asks later.
func validate(ctx context.Context, module []byte, features api.CoreFeatures) error {
	_, err := untilDone(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, check(ctx, module, features) })
	return err
}

func check(ctx context.Context, module []byte, features api.CoreFeatures) (err error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features).WithDebugInfoEnabled(false))
	defer r.Close(ctx)
	defer func() {
		if caught := recover(); caught != nil && caught != any(valid{}) {
			err = fmt.Errorf("invalid module: %v", caught)
		}
	}()
	ctx = experimental.WithFunctionListenerFactory(ctx, experimental.FunctionListenerFactoryFunc(stop))
	if _, err := r.CompileModule(ctx, module); err != nil {
		return fmt.Errorf("invalid module: %s", strings.TrimPrefix(err.Error(), "invalid "))
	}
	return nil
}

// valid is what stop panics with.
type valid struct{}

func stop(api.FunctionDefinition) experimental.FunctionListener { panic(valid{}) }
