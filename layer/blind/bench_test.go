package blind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"usui/layer/blind/scan"
	"usui/layer/blind/wasm"
)

// kernels are those of testdata/kernels, with how often they run for about a tenth of a second.
var kernels = []struct{ name, times string }{
	{"sha256", "100"}, {"aes", "60"}, {"sort", "20"}, {"crc32", "200"}, {"json", "1500"}, {"hash64", "1000"},
}

// benchPolicies are compared with None.
var benchPolicies = []Policy{Light, Chakra, All}

// rounds is how often each kernel runs under each policy. With 15 the median's interval of 96 % is from the 4th to the 12th ratio (binomial).
const (
	rounds   = 15
	low, top = 3, 11
)

// variant is the program as one policy leaves it.
type variant struct {
	policy    Policy
	module    []byte
	rewriter  *rewriter
	report    Report
	runtime   *compiler
	compiled  wazero.CompiledModule
	rewriting time.Duration // without compiling
	compiling time.Duration
	code      int
	left      int // terminators in constants
}

// BenchmarkPolicies prints how much processor time kernels take, how many of the constants that they execute are blinded, how much code grows and what is left in it, under
// each policy, in paired runs.
func BenchmarkPolicies(b *testing.B) {
	program := buildKernels(b)
	variants := []*variant{newVariant(b, program, None)}
	for _, p := range benchPolicies {
		variants = append(variants, newVariant(b, program, p))
	}
	defer func() {
		for _, v := range variants {
			v.runtime.close(context.Background())
		}
	}()
	for range b.N { // once: the rounds are inside
		printVariants(variants)
		printKernels(b, variants)
	}
}

// buildKernels builds testdata/kernels for WASI.
func buildKernels(tb testing.TB) []byte {
	tb.Helper()
	program, err := os.ReadFile(buildGuest(tb, "kernels"))
	if err != nil {
		tb.Fatal(err)
	}
	return program
}

func newVariant(tb testing.TB, program []byte, p Policy) *variant {
	tb.Helper()
	ctx := context.Background()
	v := &variant{policy: p}
	var err error
	if v.runtime, err = newCompiler(ctx, compilerConfig(AllFeatures), true); err != nil {
		tb.Fatal(err)
	}
	if _, err = wasi_snapshot_preview1.Instantiate(ctx, v.runtime.Runtime); err != nil {
		tb.Fatal(err)
	}
	start := time.Now()
	if v.rewriter, err = prepare(ctx, program, Options{Policy: p}.withDefaults()); err != nil {
		tb.Fatal(err)
	}
	if v.module, v.report, err = v.rewriter.assemble(nil); err != nil {
		tb.Fatal(err)
	}
	v.rewriting = time.Since(start)
	if v.rewriter.o.scans() {
		v.module, v.report, err = v.rewriter.scanned(ctx, func(module []byte, _ bool) (scan.Report, error) {
			compiled, found, err := v.runtime.compile(ctx, module, v.rewriter.search())
			if err != nil {
				return found, err
			}
			return found, compiled.Close(ctx)
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	start = time.Now()
	if v.compiled, err = v.runtime.Runtime.CompileModule(ctx, v.module); err != nil {
		tb.Fatal(err)
	}
	v.compiling = time.Since(start)
	start = time.Now()
	found, err := v.runtime.scanCode(scan.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	v.rewriting += time.Since(start)
	v.code = found.Size.Code
	for _, o := range found.Offenders {
		if !(&findings{fields: [][]byte{minusOne}}).enginesOwn(o) {
			v.left++
		}
	}
	return v
}

// printVariants prints what does not depend on a run.
func printVariants(variants []*variant) {
	base := variants[0]
	fmt.Printf("\n%-8s %10s %10s %12s %10s %12s %14s\n", "policy", "blinded", "growth", "left in code", "compile", "look + scan", "of the compile")
	for _, v := range variants {
		fmt.Printf("%-8v %8.2f %% %+8.2f %% %12d %10v %12v %12.1f %%\n", v.policy, percent(v.report.Blinded, v.report.Constants),
			percent(v.code-base.code, base.code), v.left, v.compiling.Round(time.Millisecond), v.rewriting.Round(time.Millisecond),
			100*v.rewriting.Seconds()/base.compiling.Seconds())
	}
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(of) }

// printKernels prints, for each kernel and policy, the run time as a ratio to that without blinding, and the share of constants.
func printKernels(b *testing.B, variants []*variant) {
	fmt.Printf("\n%-8s %-8s %22s %18s\n", "kernel", "policy", "time (96 %)", "executed, blinded")
	means := map[Policy][]float64{}
	for _, k := range kernels {
		ratios := measure(b, variants, k.name, k.times)
		for i, v := range variants[1:] {
			r := ratios[i]
			slices.Sort(r)
			median := r[rounds/2]
			all, blinded := executed(b, v, k.name)
			fmt.Printf("%-8s %-8v %+6.2f %% (%+.2f to %+.2f) %14.5f %%\n", k.name, v.policy, 100*(median-1), 100*(r[low]-1), 100*(r[top]-1),
				100*float64(blinded)/float64(all))
			means[v.policy] = append(means[v.policy], math.Log(median))
		}
	}
	for _, p := range benchPolicies {
		sum := 0.0
		for _, l := range means[p] {
			sum += l
		}
		mean := math.Exp(sum/float64(len(means[p]))) - 1
		fmt.Printf("%-8s %-8v %+6.2f %% geometric mean, %+.2f %% worst\n", "all", p, 100*mean, 100*(math.Exp(slices.Max(means[p]))-1))
		b.ReportMetric(100*mean, p.String()+"-%")
	}
}

// measure returns the ratios of each policy but the first to the first, one for each round. The order changes with each.
func measure(b *testing.B, variants []*variant, kernel, times string) [][]float64 {
	ratios := make([][]float64, len(variants)-1)
	for round := range rounds {
		took := make([]float64, len(variants))
		for i := range variants {
			j := (i + round) % len(variants)
			start := processorTime(b)
			runKernel(b, variants[j].runtime.Runtime, variants[j].compiled, kernel, times)
			took[j] = (processorTime(b) - start).Seconds()
		}
		for i := range ratios {
			ratios[i] = append(ratios[i], took[i+1]/took[0])
		}
	}
	return ratios
}

// processorTime is what this process has used so far: other programs on the machine change it less than they change the time of day.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runKernel runs the program and returns the values of its globals.
func runKernel(b *testing.B, r wazero.Runtime, compiled wazero.CompiledModule, args ...string) []uint64 {
	ctx := context.Background()
	var out bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithStdout(&out).WithStderr(io.Discard).
		WithArgs(append([]string{"kernels"}, args...)...).WithSysNanotime().WithSysWalltime()
	m, err := r.InstantiateModule(ctx, compiled, config)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close(ctx)
	_, err = m.ExportedFunction("_start").Call(ctx)
	var exit *sys.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 0 || len(strings.TrimSpace(out.String())) != 16 {
		b.Fatalf("kernel %v: %v, %q", args, err, out.String())
	}
	internal, ok := m.(experimental.InternalModule)
	if !ok {
		return nil
	}
	values := make([]uint64, internal.NumGlobal())
	for i := range values {
		values[i] = internal.Global(i).Get()
	}
	return values
}

// executed counts exactly how many constants other than 0 a kernel executes, and how many of them the policy blinds.
func executed(b *testing.B, v *variant, kernel string) (all, blinded uint64) {
	ctx := context.Background()
	counting, err := v.counting()
	if err != nil {
		b.Fatal(err)
	}
	compiled, err := v.runtime.Runtime.CompileModule(ctx, counting)
	if err != nil {
		b.Fatal(err)
	}
	defer compiled.Close(ctx)
	globals := runKernel(b, v.runtime.Runtime, compiled, kernel, "5")
	return globals[len(globals)-2], globals[len(globals)-1]
}

// counting returns the original program with two more globals, which count.
func (v *variant) counting() ([]byte, error) {
	w := v.rewriter
	out := wasm.NewRewriter(w.m)
	all, blinded := out.AddGlobal(0), out.AddGlobal(0)
	return out.Write(w.size, func(i int) (wasm.Body, error) {
		f := &function{w: w, fn: &w.m.Functions[i], found: w.found[i]}
		s := wasm.NewScanner(f.fn.Code)
		for s.Next() {
			in := s.Instr()
			if c, ok := constantOf(in); ok && c.bits != [2]uint64{} {
				f.increment(all)
				if do, _, _ := f.decide(in, s); do == blind {
					f.increment(blinded)
				}
			}
			f.out = append(f.out, in.Bytes...)
		}
		return wasm.Body{Code: f.out}, s.Err()
	})
}

func (f *function) increment(global uint32) {
	f.index(wasm.OpGlobalGet, global)
	f.out = wasm.AppendI64(f.out, 1)
	f.op(wasm.OpI64Add)
	f.index(wasm.OpGlobalSet, global)
}
