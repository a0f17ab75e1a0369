package scan

import (
	"context"
	"flag"
	"fmt"
	"io"

	"usui/internal/cli"
	"usui/layer/blind/terminator"
)

// Command is "usui blind scan".
var Command = cli.Command{
	Name:  "scan",
	Usage: "[--format F] [--arch A] [--classes C] [--definitions D] [--list N] [--all] [--json] FILE",
	Short: "show where the machine code in a file can be misused",
	Long: `
Finds every byte of machine code where a return, an indirect branch or a system call begins, be it in the middle of an
instruction, and says what the byte is for: an instruction of the program, a constant that the program's author chose, the target of
a branch, a register. Whoever attacks a program that a JIT compiler translates can write such constants on purpose;
"usui blind rewrite" is there to leave none.

  usui blind scan ~/.cache/wazero/wazero-v1.12.0-amd64-linux/0a1b...
  usui blind scan --list 20 jit-4711.dump         what node --perf-prof wrote
  usui blind scan --raw --arch amd64 code.bin
  usui blind scan --json /usr/bin/true

Files: those of wazero's compilation cache, ELF (programs, libraries, what wasmtime compiles), jitdump, and raw code. A cache file
has its architecture in the name of its folder; elsewhere, --arch tells it.

Rows of "chosen" are bytes that the author may have chosen. A row such as imm+operation is terminators of two bytes that begin in the
one and end in the other. Nothing that blinding does changes the rows of "left": they are what other tools count in a total.

--definitions ropgadget counts what the program ROPgadget counts (add --classes all for its jumps to relative targets).`,
	FlagsBehind: true,
	Setup: func(f *flag.FlagSet) cli.Run {
		var c command
		c.flags(f)
		return func(_ context.Context, env *cli.Env, args []string) error { return c.run(env.Stdout, args) }
	},
}

type command struct {
	options                            Options
	format, arch, classes, definitions string
	raw, json                          bool
	list                               int
}

func (c *command) flags(f *flag.FlagSet) {
	f.StringVar(&c.format, "format", "auto", "read the file as `F`: wazero, elf, jitdump, raw, or auto")
	f.BoolVar(&c.raw, "raw", false, "the file is code and nothing else: the same as --format raw")
	f.StringVar(&c.arch, "arch", "", "the code is for `A`, amd64 or arm64, if the file does not say it")
	f.StringVar(&c.classes, "classes", "light", "look for terminators of the classes `C`: ret, indirect, syscall, direct, separated by commas, light (all but direct), or all")
	f.StringVar(&c.definitions, "definitions", "own", "what counts as a terminator, `D`: own or ropgadget")
	f.IntVar(&c.list, "list", 0, "list the first `N` unintended terminators; -1 lists all")
	f.BoolVar(&c.options.All, "all", false, "list those that nobody chose as constants, too")
	f.BoolVar(&c.json, "json", false, "print the report as JSON, with all that is to be listed")
}

func (c *command) run(out io.Writer, args []string) error {
	if len(args) != 1 {
		return cli.UsageError("scan takes one file, not %d", len(args))
	}
	if err := c.parse(); err != nil {
		return cli.UsageError("%v", err)
	}
	r, err := File(args[0], c.options)
	if err != nil {
		return err
	}
	if c.json {
		return r.WriteJSON(out)
	}
	return r.WriteText(out, c.list)
}

// parse turns words into options.
func (c *command) parse() (err error) {
	if c.raw && c.format != "auto" && c.format != string(Raw) {
		return fmt.Errorf("--raw and --format %s exclude each other", c.format)
	}
	if c.raw {
		c.format = string(Raw)
	}
	o := &c.options
	if o.Format, err = ParseFormat(c.format); err != nil {
		return err
	}
	if o.Classes, err = terminator.ParseSet(c.classes); err != nil {
		return err
	}
	if o.Definitions, err = ParseDefinitions(c.definitions); err != nil {
		return err
	}
	if o.Arch = c.arch; o.Arch != "" {
		_, err = terminator.ParseArch(o.Arch)
	}
	return err
}
