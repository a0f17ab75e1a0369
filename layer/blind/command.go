package blind

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"usui/internal/cli"
	"usui/layer/blind/terminator"
)

const policies = `

Policies: "light" blinds what holds a return, an indirect branch or a system call; "ret" returns only; "branches" direct branches, too. To compare with
what others do: "chakra" blinds numbers with three or more bytes that are neither 00 nor ff, "all" whatever is not 0, "none" nothing.`

// RewriteCommand is "usui blind rewrite".
var RewriteCommand = cli.Command{
	Name:  "rewrite",
	Usage: "IN.wasm -o OUT.wasm [--policy NAME] [--arch ARCH] [--timeout TIME] [--report|--json]",
	Short: "blind the constants of a module, for any engine",
	Long: `
Writes a WebAssembly module that does the same and in which no constant of the program looks like a control-flow instruction: those that do
are xored with random keys, which lie in private globals.

  usui blind rewrite app.wasm -o blinded.wasm
  usui blind rewrite app.wasm -o blinded.wasm --report
  usui blind rewrite app.wasm -o blinded.wasm --arch arm64
  usui blind rewrite app.wasm -o - | engine /dev/stdin

The output holds the keys: only you can read it (mode 0600). Do not share it, and write a fresh one for each use; "usui blind run"
does so by itself, and keeps it in memory. OUT is made or replaced as a whole. A pipe or a device is written to; a folder, a
terminal and a symbolic link to a file are refused. For this machine's architecture the module is also compiled by wazero and the machine code
scanned, until nothing is left that a program's author could have chosen. Other engines are served by the first look, which is at the module.` + policies,
	FlagsBehind: true,
	Setup: func(f *flag.FlagSet) cli.Run {
		c := rewriteOptions{}
		c.declare(f)
		f.StringVar(&c.out, "o", "", "write to `FILE`, which must not be the input; - is standard output")
		f.StringVar(&c.Arch, "arch", "", "blind for machines of `ARCH`, amd64 or arm64; that of this one, if not given")
		f.DurationVar(&c.timeout, "timeout", 0, "give up after `TIME`, such as 30s")
		f.BoolVar(&c.report, "report", false, "print what was done and what is left in machine code")
		f.BoolVar(&c.json, "json", false, "print the report as JSON")
		return c.main
	},
}

// RunCommand is "usui blind run".
var RunCommand = cli.Command{
	Name:  "run",
	Usage: "[flags] APP.wasm [ARGUMENT...]",
	Short: "run a WASI program with blinded constants",
	Long: `
Runs a WebAssembly program (WASI preview 1) on wazero's compiler. Its constants are blinded with keys that are fresh for this run and are
never written to a disk. What it may use of this machine is what the flags give it: no files and no environment, if there are none.

  usui blind run app.wasm one two
  usui blind run --dir . --env LANG=C app.wasm
  usui blind run --dir /srv/data:/data:ro --timeout 30s app.wasm

The program cannot leave its folders: a symbolic link that leads out of one, be it there or made by the program, and every absolute
link, answers "operation not permitted". In a folder that is read-only (:ro)
nothing can be changed.

The exit status is the program's; of one that a byte cannot hold, the low eight bits, or 1 if they are 0. Blinding and scanning take longer than compiling once; --policy none shows what it costs.` + policies,
	Setup: func(f *flag.FlagSet) cli.Run {
		c := runOptions{}
		c.declare(f)
		f.Func("dir", "let the program use `HOST[:GUEST][:ro]`, a folder; may be given several times", func(s string) error {
			d, err := ParseDir(s)
			c.Dirs = append(c.Dirs, d)
			return err
		})
		f.Func("env", "set `KEY=VALUE` in the program's environment; may be given several times", func(s string) error {
			if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
				return errors.New("want KEY=VALUE")
			}
			c.Env = append(c.Env, s)
			return nil
		})
		f.BoolVar(&c.inherit, "env-inherit", false, "give the program this environment; --env comes after it")
		f.BoolVar(&c.Interpreter, "interpreter", false, "interpret the program: slow, and no machine code at all")
		f.DurationVar(&c.Timeout, "timeout", 0, "end the program after `TIME`, such as 30s")
		f.BoolVar(&c.report, "report", false, "print on standard error what was done, before the program begins")
		return c.main
	},
}

func (o *Options) declare(f *flag.FlagSet) {
	f.Var(&o.Policy, "policy", "blind what `NAME` says: "+strings.Join(names[:], ", "))
	f.BoolVar(&o.LargeFrames, "large-frames", false, "accept functions with stack frames of 48 KiB or more, whose offsets may hold returns")
}

type rewriteOptions struct {
	Options
	out          string
	timeout      time.Duration
	report, json bool
}

func (o *rewriteOptions) main(ctx context.Context, env *cli.Env, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	out, err := openOutput(o.out, env.Stdout)
	if err != nil {
		return cli.UsageError("%v", err)
	}
	module, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if o.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done after %v", o.timeout))
		defer stop()
	}
	blinded, report, err := Rewrite(ctx, module, o.Options)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if err := out.write(blinded); err != nil {
		return err
	}
	switch {
	case o.json:
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(report)
	case o.report:
		return report.Print(env.Stdout)
	}
	return nil
}

// check looks at the call.
func (o *rewriteOptions) check(args []string) error {
	switch {
	case len(args) == 0:
		return cli.UsageError("no module given")
	case len(args) > 1:
		return cli.UsageError("unexpected argument %q: one module at a time", args[1])
	case o.out == "":
		return cli.UsageError("no output given: add -o FILE")
	case o.report && o.json:
		return cli.UsageError("--report and --json exclude each other")
	case o.out == "-" && (o.report || o.json):
		return cli.UsageError("the module and a report cannot both go to standard output: name a file behind -o")
	}
	if _, err := terminator.ParseArch(o.withDefaults().Arch); err != nil {
		return cli.UsageError("%v", err)
	}
	if a, err := os.Stat(args[0]); err == nil {
		if b, err := os.Stat(o.out); err == nil && os.SameFile(a, b) {
			return cli.UsageError("-o %s is the input; write to another file", o.out)
		}
	}
	return checkTimeout(o.timeout)
}

func checkTimeout(t time.Duration) error {
	if t < 0 {
		return cli.UsageError("--timeout %v: want a time to come, such as 30s", t)
	}
	return nil
}

type runOptions struct {
	Options
	Program
	inherit, report bool
}

func (o *runOptions) main(ctx context.Context, env *cli.Env, args []string) error {
	if len(args) == 0 {
		return cli.UsageError("no program given")
	}
	if err := checkTimeout(o.Timeout); err != nil {
		return err
	}
	p := o.Program
	p.Path, p.Args, p.Options = args[0], args[1:], o.Options
	p.Stdin, p.Stdout, p.Stderr = env.Stdin, env.Stdout, env.Stderr
	if o.inherit {
		p.Env = append(os.Environ(), p.Env...)
	}
	if o.report {
		p.Report = env.Stderr
	}
	status, err := p.Run(ctx)
	if err == nil && status != 0 {
		return cli.ExitStatus(max(1, status&0xff)) // what the system hands on has eight bits; a failure stays one
	}
	return err
}
