package blind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
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

// In each round every variant is compiled anew, at another place: where a loop lies changes its time by more than blinding does, and growth moves it
// (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009). Each kernel then runs repeats times under each
// policy, of which the fastest counts: what else the machine does only adds. With 15 rounds the median's interval of 96 % is from the 4th to the
// 12th ratio (binomial).
const (
	rounds   = 15
	repeats  = 3
	low, top = 3, 11
	ahead    = 4096 // at most so many instructions are put in front of the program
)

// variant is the program as one policy leaves it.
type variant struct {
	policy    Policy
	module    []byte
	rewriter  *rewriter
	report    Report
	runtime   *compiler
	looking   time.Duration // rewriting and one scan
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
	look := quickest(func() {
		if v.rewriter, err = prepare(ctx, program, Options{Policy: p}.withDefaults()); err != nil {
			tb.Fatal(err)
		}
		if v.module, v.report, err = v.rewriter.assemble(nil); err != nil {
			tb.Fatal(err)
		}
	})
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
	var found scan.Report
	v.compiling, v.looking = time.Hour, time.Hour
	for range repeats { // wazero writes the file that is scanned once for each compilation
		var compiled wazero.CompiledModule
		v.compiling = min(v.compiling, took(func() {
			if compiled, err = v.runtime.Runtime.CompileModule(ctx, v.module); err != nil {
				tb.Fatal(err)
			}
		}))
		v.looking = min(v.looking, took(func() {
			if found, err = v.runtime.scanCode(scan.Options{}); err != nil {
				tb.Fatal(err)
			}
		}))
		compiled.Close(ctx)
	}
	v.looking += look
	v.code = found.Size.Code
	for _, o := range found.Offenders {
		if !(&findings{fields: [][]byte{minusOne}}).enginesOwn(o) {
			v.left++
		}
	}
	return v
}

// quickest returns how long f took at best.
func quickest(f func()) time.Duration {
	best := took(f)
	for range repeats - 1 {
		best = min(best, took(f))
	}
	return best
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// printVariants prints what does not depend on a run.
func printVariants(variants []*variant) {
	base := variants[0]
	fmt.Printf("\n%-8s %10s %10s %12s %10s %12s %14s\n", "policy", "blinded", "growth", "left in code", "compile", "look + scan", "of the compile")
	for _, v := range variants {
		fmt.Printf("%-8v %8.2f %% %+8.2f %% %12d %10v %12v %12.1f %%\n", v.policy, percent(v.report.Blinded, v.report.Constants),
			percent(v.code-base.code, base.code), v.left, v.compiling.Round(time.Millisecond), v.looking.Round(time.Millisecond),
			100*v.looking.Seconds()/base.compiling.Seconds())
	}
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(of) }

// printKernels prints, for each kernel and policy, the run time as a ratio to that without blinding, and the share of constants.
func printKernels(b *testing.B, variants []*variant) {
	fmt.Printf("\n%-8s %-8s %22s %18s\n", "kernel", "policy", "time (96 %)", "executed, blinded")
	means := map[Policy][]float64{}
	ratios := measure(b, variants)
	for n, k := range kernels {
		for i, v := range variants[1:] {
			r := ratios[n][i]
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

// measure returns, for each kernel, the ratios of each policy but the first to the first, one for each round.
func measure(b *testing.B, variants []*variant) [][][]float64 {
	ratios := make([][][]float64, len(kernels))
	for n := range ratios {
		ratios[n] = make([][]float64, len(variants)-1)
	}
	for round := range rounds {
		var programs []program
		for _, v := range variants {
			programs = append(programs, v.move(b))
		}
		for n, k := range kernels {
			took := fastest(b, programs, round, k.name, k.times)
			for i := range ratios[n] {
				ratios[n][i] = append(ratios[n][i], took[i+1]/took[0])
			}
		}
		for _, p := range programs {
			p.runtime.Close(context.Background())
		}
	}
	return ratios
}

// fastest returns the time that each variant took at best, in seconds. The order changes with each round.
func fastest(b *testing.B, programs []program, round int, kernel, times string) []float64 {
	took := slices.Repeat([]float64{math.Inf(1)}, len(programs))
	for n := range repeats {
		for i := range programs {
			j := (i + round + n) % len(programs)
			start := processorTime(b)
			runKernel(b, programs[j].runtime, programs[j].compiled, kernel, times)
			took[j] = min(took[j], (processorTime(b) - start).Seconds())
		}
	}
	return took
}

// program is a variant at one place in memory.
type program struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// move compiles the variant with a number of instructions in front of the others that is another one each time. They are never executed.
func (v *variant) move(b *testing.B) program {
	m, err := wasm.Parse(v.module)
	if err != nil {
		b.Fatal(err)
	}
	out := wasm.NewRewriter(m)
	never := out.AddGlobal(0)
	moved, err := out.Write(func(i int) (wasm.Body, error) {
		if i != 0 {
			return wasm.Body{}, nil
		}
		f := &function{}
		f.index(wasm.OpGlobalGet, never)
		f.op(wasm.OpI32WrapI64)
		f.out = append(wasm.AppendOp(f.out, wasm.OpIf), 0x40)
		for range rand.IntN(ahead) {
			f.increment(never)
		}
		f.op(wasm.OpEnd)
		return wasm.Body{Code: append(f.out, m.Functions[i].Code...)}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	p := program{runtime: wazero.NewRuntimeWithConfig(ctx, compilerConfig(AllFeatures))}
	if _, err = wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
		b.Fatal(err)
	}
	if p.compiled, err = p.runtime.CompileModule(ctx, moved); err != nil {
		b.Fatal(err)
	}
	return p
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
	return out.Write(func(i int) (wasm.Body, error) {
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
