package blind

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// suites are the scripts that wazero passes: of the specification 2.0, and of proposals.
var suites = []string{"v2", "tail-call", "exception-handling", "threads", "extended-const", "typed-function-references"}

// TestSpecificationTests runs the scripts of the specification's tests and of the proposals', as wazero publishes them, with the original
// modules and with the rewritten ones side by side. Each script has one policy and one engine; the long test combines them all.
func TestSpecificationTests(t *testing.T) {
	for i, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			specification(t, e.config, func(script int) Policy {
				if script%2 != i {
					return None
				}
				return []Policy{Light, All}[script/2%2]
			})
		})
	}
}

// specification runs the scripts on one engine; not those for which the policy is None.
func specification(t *testing.T, config func() wazero.RuntimeConfig, policy func(script int) Policy) {
	ran := 0
	for _, suite := range suites {
		ran += runSuite(t, suite, config, policy)
	}
	if ran < 10_000 {
		t.Errorf("%d calls were compared, want 10000 or more", ran)
	}
}

// wazeroSource is where the source of the wazero that we are linked with lies.
func wazeroSource(t *testing.T) string {
	file, _ := runtime.FuncForPC(reflect.ValueOf(wazero.NewRuntime).Pointer()).FileLine(0)
	if dir := filepath.Dir(file); filepath.IsAbs(dir) {
		return dir
	}
	t.Fatalf("the tests are built with -trimpath: where wazero's source lies is unknown (%s)", file)
	return ""
}

func runSuite(t *testing.T, suite string, config func() wazero.RuntimeConfig, policy func(script int) Policy) (ran int) {
	root := filepath.Join(wazeroSource(t), "internal", "integration_test", "spectest")
	scripts, err := filepath.Glob(filepath.Join(root, suite, "testdata", "*.json"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts of %s: %v", suite, err)
	}
	host, err := os.ReadFile(filepath.Join(root, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for i, script := range scripts {
		if p := policy(i); p != None {
			ran += newScriptRun(t, script, host, config, p).run()
		}
	}
	return ran
}

// command is one line of a script in the form of wast2json.
type command struct {
	Type       string
	Line       int
	Name       string
	Filename   string
	As         string
	ModuleType string `json:"module_type"`
	Action     struct {
		Type, Field, Module string
		Args                []value
	}
}

type value struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// scriptRun is a script that runs with two runtimes, the second of which has the rewritten modules.
type scriptRun struct {
	t        *testing.T
	name     string
	dir      string
	policy   Policy
	commands []command
	runtimes [2]wazero.Runtime
	named    map[string][2]api.Module
	last     [2]api.Module
}

func newScriptRun(t *testing.T, script string, host []byte, config func() wazero.RuntimeConfig, p Policy) *scriptRun {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	s := &scriptRun{t: t, name: filepath.Base(script), dir: filepath.Dir(script), policy: p, named: map[string][2]api.Module{}}
	var parsed struct{ Commands []command }
	if err := json.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	s.commands = parsed.Commands
	for i := range s.runtimes {
		s.runtimes[i] = wazero.NewRuntimeWithConfig(context.Background(), config().WithCoreFeatures(AllFeatures))
		if _, err := s.runtimes[i].Instantiate(context.Background(), host); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run returns how many calls were compared.
func (s *scriptRun) run() (calls int) {
	defer func() {
		for _, r := range s.runtimes {
			r.Close(context.Background())
		}
	}()
	for i := range s.commands {
		c := &s.commands[i]
		switch c.Type {
		case "module":
			register := ""
			if i+1 < len(s.commands) && s.commands[i+1].Type == "register" {
				register = s.commands[i+1].As
			}
			s.module(c, register)
		case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
			if c.ModuleType != "text" {
				s.module(c, "")
			}
		case "assert_return", "assert_trap", "action":
			s.call(c)
			calls++
		}
	}
	return calls
}

// module instantiates a module and its rewrite, which must fail in the same way.
func (s *scriptRun) module(c *command, register string) {
	ctx := context.Background()
	module, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
	if err != nil {
		s.t.Fatal(err)
	}
	var modules [2]api.Module
	config := wazero.NewModuleConfig().WithName(register)
	var wantErr, gotErr error
	modules[0], wantErr = s.runtimes[0].InstantiateWithConfig(ctx, module, config)
	rewritten, _, gotErr := Rewrite(ctx, module, Options{Policy: s.policy, Unscanned: true})
	if gotErr == nil {
		modules[1], gotErr = s.runtimes[1].InstantiateWithConfig(ctx, rewritten, config)
	}
	if (gotErr == nil) != (wantErr == nil) {
		s.t.Errorf("%s:%d: error %v, want %v", s.name, c.Line, gotErr, wantErr)
	}
	if c.Type == "module" {
		s.last = modules
		if c.Name != "" {
			s.named[c.Name] = modules
		}
	}
}

// call calls a function, or reads a global, of both modules.
func (s *scriptRun) call(c *command) {
	modules := s.last
	if c.Action.Module != "" {
		modules = s.named[c.Action.Module]
	}
	if modules[0] == nil || modules[1] == nil {
		return // it did not come into being, as is told already
	}
	var got [2]string
	for i, m := range modules {
		if c.Action.Type == "get" {
			got[i] = fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get())
			continue
		}
		results, err := m.ExportedFunction(c.Action.Field).Call(context.Background(), arguments(c)...)
		if err != nil {
			got[i], _, _ = strings.Cut(err.Error(), "\n")
		} else {
			got[i] = describe(m.ExportedFunction(c.Action.Field).Definition().ResultTypes(), results)
		}
	}
	if got[0] != got[1] {
		s.t.Errorf("%s:%d: %s = %s, want %s", s.name, c.Line, c.Action.Field, got[1], got[0])
	}
}

// describe prints results; references are addresses, which differ between two instances.
func describe(types []api.ValueType, results []uint64) string {
	var b strings.Builder
	for _, t := range types {
		words := 1
		if t == 0x7b { // v128
			words = 2
		}
		switch {
		case len(results) < words:
			return "too few results"
		case slices.Contains([]api.ValueType{api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64, 0x7b}, t):
			fmt.Fprintf(&b, "%x ", results[:words])
		default:
			fmt.Fprintf(&b, "null %v ", results[0] == 0)
		}
		results = results[words:]
	}
	return b.String()
}

func arguments(c *command) (args []uint64) {
	for _, a := range c.Action.Args {
		switch text := a.Value.(type) {
		case string:
			args = append(args, number(text))
		case []any:
			args = append(args, lanes(a.LaneType, text)...)
		default:
			args = append(args, 0)
		}
	}
	return args
}

// number reads one; what is none (null, nan:canonical) is 0 for both.
func number(text string) uint64 {
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return uint64(v)
	}
	v, _ := strconv.ParseUint(text, 10, 64)
	return v
}

func lanes(laneType string, list []any) []uint64 {
	width, _ := strconv.Atoi(laneType[1:])
	out := make([]uint64, 2)
	for i, text := range list {
		word := i * width / 64
		out[word] |= number(text.(string)) & (1<<width - 1) << (i * width % 64)
	}
	return out
}
