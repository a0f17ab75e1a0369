package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// Exit statuses of a program that does not choose its own with [ExitStatus].
const (
	statusOK      = 0
	statusFailure = 1
	statusUsage   = 2
)

// Command is one row of the table that [Main] takes.
type Command struct {
	Name  string // as typed; lower-case
	Usage string // what follows the name, as in "[flags] [-- command [argument...]]"; may be empty
	Short string // one line for the list of commands, without a period
	Long  string // paragraphs for "help NAME"; lines that begin with spaces are examples and are not wrapped

	// Setup declares the command's flags in f and returns the function that runs it. A flag's value
	// gets its name in the help from back quotes in its usage text, as package flag says.
	Setup func(f *flag.FlagSet) Run

	Hidden bool // works, but is not listed

	// FlagsBehind lets flags stand behind arguments, too: for commands whose arguments are none of another program's.
	FlagsBehind bool

	service string // path of the binary to start instead; set by Services
}

// Run does a command's work. args are the arguments behind the flags; ctx ends at SIGINT or SIGTERM.
type Run func(ctx context.Context, env *Env, args []string) error

// Env is a command's standard input and outputs; in production they are *os.File.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ExitStatus is an error that ends the program with that status and prints nothing.
type ExitStatus int

// Error implements error.
func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// UsageError is a wrong call: the program ends with status 2. The text says what was wrong and what to
// write instead; a pointer to the command's help is added to it.
func UsageError(format string, a ...any) error { return &usageError{fmt.Sprintf(format, a...)} }

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Main runs the command that the program's arguments name and returns the exit status. about is the
// first paragraph of the help.
func Main(program, about string, commands []Command) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	return execute(ctx, &Env{os.Stdin, os.Stdout, os.Stderr}, program, about, commands, os.Args[1:])
}

// execute is Main with everything around it injected.
func execute(ctx context.Context, env *Env, program, about string, commands []Command, args []string) int {
	t := newTree(ctx, env, program, about, commands)
	t.root.SetArgs(args)
	ran, err := t.root.ExecuteC()
	if err != nil && ran == t.root {
		err = flagError(t.root, err) // of a flag before the command's name
	}
	name := ""
	if ran != nil && ran != t.root {
		name = ran.Name()
	}
	return t.report(name, err)
}

// report prints err, an error of the command of that name ("" for the program itself), and returns
// the exit status for it.
func (t *tree) report(name string, err error) int {
	var (
		status ExitStatus
		usage  *usageError
		caught signalError
	)
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled) && errors.As(context.Cause(t.ctx), &caught):
		return caught.status()
	}
	where, help := t.program+": ", t.program+" help"
	if name != "" && name != "help" {
		where, help = where+name+": ", help+" "+name
	}
	// What fails before a command runs is a wrong call, whoever noticed it.
	if errors.As(err, &usage) || !t.ran {
		fmt.Fprintf(t.env.Stderr, "%s%s (see %q)\n", where, oneLine(err.Error()), help)
		return statusUsage
	}
	fmt.Fprintf(t.env.Stderr, "%s%s\n", where, oneLine(err.Error()))
	return statusFailure
}

// oneLine makes text safe to print as a line: errors may quote bytes of a guest, a file or a peer, which
// must not move the user's cursor.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
