package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// tree is one call of the program: cobra's commands, made from ours.
type tree struct {
	ctx      context.Context // of the one call that this value is
	env      *Env
	program  string
	about    string
	commands []Command
	root     *cobra.Command
	version  bool // --version was given
	ran      bool // a command's Run was entered
}

func newTree(ctx context.Context, env *Env, program, about string, commands []Command) *tree {
	t := &tree{ctx: ctx, env: env, program: program, about: about, commands: commands}
	t.root = &cobra.Command{
		Use:              program,
		Args:             cobra.ArbitraryArgs,
		RunE:             func(_ *cobra.Command, args []string) error { return t.noCommand(args) },
		SilenceErrors:    true, // report prints them
		SilenceUsage:     true,
		TraverseChildren: true, // a flag before the command's name is the program's
	}
	t.root.SetIn(env.Stdin)
	t.root.SetOut(env.Stdout)
	t.root.SetErr(env.Stderr)
	t.root.SetHelpFunc(func(c *cobra.Command, _ []string) { t.help(c) })
	t.root.SetFlagErrorFunc(flagError)
	t.root.Flags().SetInterspersed(false)
	t.root.Flags().BoolVar(&t.version, "version", false, "as the command version, if there is one")
	t.root.SetHelpCommand(&cobra.Command{
		Use:                "help [NAME]",
		Short:              "explain a command",
		ValidArgsFunction:  t.completeNames,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return t.helpOn(args) },
	})
	for i := range commands {
		t.root.AddCommand(t.add(&commands[i]))
	}
	t.root.CompletionOptions.DisableDefaultCmd = !t.completes()
	t.root.InitDefaultCompletionCmd()
	if c, _, err := t.root.Find([]string{"completion"}); err == nil && c != t.root {
		c.RunE = func(*cobra.Command, []string) error { return UsageError("name a shell: bash, zsh, fish or powershell") }
	}
	return t
}

// completes says that a shell can complete the program's arguments: not those of a service, which it knows as words of another program.
func (t *tree) completes() bool { return !strings.Contains(t.program, " ") }

// add makes cobra's command for c.
func (t *tree) add(c *Command) *cobra.Command {
	cc := &cobra.Command{Use: strings.TrimSpace(c.Name + " " + c.Usage), Short: c.Short, Hidden: c.Hidden}
	cc.Args = cobra.ArbitraryArgs
	if c.service != "" {
		cc.DisableFlagParsing = true // they are the service's
		cc.RunE = func(_ *cobra.Command, args []string) error {
			t.ran = true
			return startService(c.service, args)
		}
		return cc
	}
	flags := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	run := c.Setup(flags)
	cc.Flags().AddGoFlagSet(flags)
	cc.Flags().SetInterspersed(c.FlagsBehind)
	cc.RunE = func(_ *cobra.Command, args []string) error {
		t.ran = true
		return run(t.ctx, t.env, args)
	}
	return cc
}

// noCommand answers a call whose first argument is not a command.
func (t *tree) noCommand(args []string) error {
	if t.version && t.find("version") != nil {
		t.ran = true
		return t.find("version").Setup(flag.NewFlagSet("version", flag.ContinueOnError))(t.ctx, t.env, args)
	}
	if len(args) == 0 {
		return UsageError("no command given")
	}
	names := t.names()
	if slices.Contains(names, args[0]) {
		return UsageError("%q comes before flags and --", args[0])
	}
	return UsageError("unknown command %q%s", args[0], didYouMean(args[0], names))
}

// names returns all names that can be typed, in the order of the help.
func (t *tree) names() []string {
	var names []string
	for _, c := range t.commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if names = append(names, "help"); t.completes() {
		names = append(names, "completion")
	}
	return names
}

func (t *tree) completeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return t.names(), cobra.ShellCompDirectiveNoFileComp
}

// flagError words what pflag found wrong.
func flagError(c *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return UsageError("unknown flag -%.1s%s", unknown.GetSpecifiedName(), singleDash(c, unknown.GetSpecifiedShortnames()))
	case errors.As(err, &unknown):
		return UsageError("unknown flag --%s%s", unknown.GetSpecifiedName(), nearestFlag(c, unknown.GetSpecifiedName()))
	case errors.As(err, &missing):
		return UsageError("flag --%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		return UsageError("flag --%s %q: %s", invalid.GetFlag().Name, invalid.GetValue(), valueProblem(invalid))
	}
	return err
}

// singleDash helps who writes a long flag with one dash, as other programs want it.
func singleDash(c *cobra.Command, typed string) string {
	name, _, _ := strings.Cut(typed, "=")
	if c.Flags().Lookup(name) != nil && len(name) > 1 {
		return fmt.Sprintf("; did you mean --%s?", name)
	}
	return ""
}

func nearestFlag(c *cobra.Command, typed string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(typed, names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}

// valueProblem says what is wrong with a flag's value. Package flag's own values all say "parse error" or
// "value out of range"; then the type tells the user more.
func valueProblem(e *pflag.InvalidValueError) string {
	problem := e.Unwrap().Error()
	if problem != "parse error" {
		return problem
	}
	switch kind := e.GetFlag().Value.Type(); kind {
	case "int", "int64":
		return "not a whole number"
	case "uint", "uint64":
		return "not a whole number of 0 or more"
	case "float64":
		return "not a number"
	case "bool":
		return "neither true nor false"
	case "duration":
		return "not a duration such as 30s or 2m"
	}
	return problem
}
