package blind

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"usui/internal/cli"
)

const policies = `

Policies: "light" blinds what holds a return, an indirect branch or a system call; "ret" returns only; "branches" direct branches, too. To compare with
what others do: "chakra" blinds numbers with three or more bytes that are neither 00 nor ff, "all" whatever is not 0, "none" nothing.`

// RewriteCommand is "usui blind rewrite".
var RewriteCommand = cli.Command{
	Name:  "rewrite",
	Usage: "IN.wasm -o OUT.wasm [--policy NAME] [--arch ARCH] [--report|--json]",
	Short: "blind the constants of a module, for any engine",
	Long: `
Writes a WebAssembly module that does the same and in which no constant of the program looks like a control-flow instruction: those that do
are xored with random keys, which lie in private globals.

  usui blind rewrite app.wasm -o blinded.wasm
  usui blind rewrite app.wasm -o blinded.wasm --report
  usui blind rewrite app.wasm -o blinded.wasm --arch arm64

The output holds the keys: only you can read it (mode 0600). Do not share it, and write a fresh one for each use; "usui blind run"
does so by itself, and keeps it in memory. For this machine's architecture the module is also compiled by wazero and the machine code
scanned, until nothing is left that a program's author could have chosen. Other engines are served by the first look, which is at the module.` + policies,
	Setup: func(f *flag.FlagSet) cli.Run {
		c := rewriteOptions{flags: f}
		c.declare(f)
		f.StringVar(&c.out, "o", "", "write to `FILE`, which must not be the input")
		f.StringVar(&c.Arch, "arch", "", "blind for machines of `ARCH`, amd64 or arm64; that of this one, if not given")
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

The exit status is the program's. Blinding and scanning take longer than compiling once; --policy none shows what it costs.` + policies,
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
	flags        *flag.FlagSet
	out          string
	report, json bool
}

func (o *rewriteOptions) main(ctx context.Context, env *cli.Env, args []string) error {
	in, err := o.input(args)
	if err != nil {
		return err
	}
	module, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	blinded, report, err := Rewrite(ctx, module, o.Options)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	if err := writePrivate(o.out, blinded); err != nil {
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

// input returns the module's name. Flags may stand behind it, as compilers have it.
func (o *rewriteOptions) input(args []string) (in string, err error) {
	o.flags.SetOutput(io.Discard)
	for len(args) > 0 {
		if in != "" {
			return "", cli.UsageError("unexpected argument %q: one module at a time", args[0])
		}
		in = args[0]
		if err := o.flags.Parse(args[1:]); err != nil {
			return "", cli.UsageError("%v", err)
		}
		args = o.flags.Args()
	}
	switch {
	case in == "":
		return "", cli.UsageError("no module given")
	case o.out == "":
		return "", cli.UsageError("no output given: add -o FILE")
	case o.report && o.json:
		return "", cli.UsageError("--report and --json exclude each other")
	}
	if a, err := os.Stat(in); err == nil {
		if b, err := os.Stat(o.out); err == nil && os.SameFile(a, b) {
			return "", cli.UsageError("-o %s is the input; write to another file", o.out)
		}
	}
	return in, nil
}

// writePrivate writes a file that only this user can read, whole or not at all.
func writePrivate(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
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
		return cli.ExitStatus(status)
	}
	return err
}
