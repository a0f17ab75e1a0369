package blind

import (
	"context"
	"crypto/rand"
	"io"
	"runtime"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"usui/layer/blind/scan"
)

// Options say how to blind. The zero value is Light for the machine that the program runs on, with a scan.
type Options struct {
	Policy Policy
	Arch   string // amd64 or arm64; "" is that of this machine

	// Features are those that a module may use; 0 is AllFeatures.
	Features api.CoreFeatures

	// LargeFrames accepts functions whose stack frames are so large that offsets in them hold returns.
	LargeFrames bool

	// Unscanned leaves out the second stage: compiling the module and looking at its code. It is left out anyway for another
	// machine's architecture and for policies that do not look at bytes.
	Unscanned bool

	random io.Reader // of keys; nil is crypto/rand's
}

// AllFeatures are those of every module that wazero can run.
const AllFeatures = api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTypedFunctionReferences

func (o Options) withDefaults() Options {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.Features == 0 {
		o.Features = AllFeatures
	}
	if o.random == nil {
		o.random = rand.Reader
	}
	return o
}

// scans reports whether there is a second stage, for options with their defaults.
func (o Options) scans() bool {
	return !o.Unscanned && o.Policy.byBytes() && o.Arch == runtime.GOARCH
}

// Rewrite returns the module with its constants blinded. It behaves as the original one, in any engine. The original must be valid, or
// bytes in it could mean something else once there are more globals.
//
// The result holds the keys: whoever reads it knows what it hides. It is for one use by one program.
//
// If code would still hold what the policy keeps out of it, that is an error, which names the function. The report is of use then, too.
//
// When ctx ends, Rewrite returns; a compilation is left behind, and ends by itself.
func Rewrite(ctx context.Context, module []byte, o Options) ([]byte, Report, error) {
	w, err := prepare(ctx, module, o.withDefaults())
	if err != nil {
		return nil, Report{}, err
	}
	if !w.o.scans() {
		return w.assemble(nil)
	}
	c, err := newCompiler(ctx, compilerConfig(w.o.Features), true)
	if err != nil {
		return nil, Report{}, err
	}
	defer c.close(ctx) // what is left is the result; the folder is empty or the system's to clean
	return w.scanned(ctx, func(module []byte, _ bool) (scan.Report, error) {
		compiled, found, err := c.compile(ctx, module, w.search())
		if err != nil {
			return found, err
		}
		return found, compiled.Close(ctx)
	})
}

// prepare does what comes before a compilation: the first stage. Numbers are checked before an engine sees them, types and indices by
// the engine, before anything is changed.
func prepare(ctx context.Context, module []byte, o Options) (*rewriter, error) {
	w, err := newRewriter(module, o)
	if err != nil {
		return nil, err
	}
	if err := validate(ctx, module, o.Features); err != nil {
		return nil, err
	}
	return w, w.treatAll(ctx)
}
