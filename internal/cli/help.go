package cli

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// columns is the width that help is wrapped for.
const columns = 80

// helpOn answers "help" and "help NAME".
func (t *tree) helpOn(args []string) error {
	if len(args) == 0 || isHelpFlag(args[0]) {
		t.overview(t.env.Stdout)
		return nil
	}
	if len(args) > 1 {
		return UsageError("help takes one name, not %d", len(args))
	}
	switch name := args[0]; {
	case name == "help":
		t.overview(t.env.Stdout)
		return nil
	case !slices.Contains(t.names(), name) && t.find(name) == nil:
		return UsageError("unknown command %q%s", name, didYouMean(name, t.names()))
	default:
		c, _, err := t.root.Find(args)
		if err != nil {
			return err
		}
		if ours := t.find(name); ours != nil && ours.service != "" {
			t.ran = true
			return startService(ours.service, []string{"--help"})
		}
		t.help(c)
		return nil
	}
}

func isHelpFlag(arg string) bool { return arg == "-h" || arg == "--help" }

// help prints the help of one of cobra's commands on standard output.
func (t *tree) help(c *cobra.Command) {
	w := t.env.Stdout
	ours := t.find(c.Name())
	switch {
	case c == t.root || c.Name() == "help":
		t.overview(w)
	case ours == nil || c.Parent() != t.root: // cobra's own: completion and its shells
		fmt.Fprintf(w, "%s\n\nusage: %s\n", strings.TrimSpace(c.Long), c.UseLine())
	default:
		t.explain(w, ours)
	}
}

func (t *tree) find(name string) *Command {
	i := slices.IndexFunc(t.commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &t.commands[i]
}

// overview prints the list of commands.
func (t *tree) overview(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nusage: %s COMMAND [flags] [argument...]\n\ncommands:\n", strings.TrimSpace(t.about), t.program)
	rows := [][2]string{}
	for _, c := range t.commands {
		if !c.Hidden {
			rows = append(rows, [2]string{c.Name, c.Short})
		}
	}
	rows = append(rows, [2]string{"help", "explain a command"})
	if t.completes() {
		rows = append(rows, [2]string{"completion", "print a completion script for bash, zsh, fish or powershell"})
	}
	printRows(w, rows)
	fmt.Fprintf(w, "\n\"%s help NAME\" explains a command and its flags.\n", t.program)
}

// explain prints what there is to know about one command.
func (t *tree) explain(w io.Writer, c *Command) {
	usage := c.Usage
	if usage == "" {
		usage = "[flags]"
	}
	fmt.Fprintf(w, "%s %s: %s\n\nusage: %s %s %s\n", t.program, c.Name, c.Short, t.program, c.Name, usage)
	if long := strings.TrimSpace(c.Long); long != "" {
		fmt.Fprintf(w, "\n%s\n", reflow(long))
	}
	flags := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	c.Setup(flags) // a second set: values given on this command line are no defaults
	fmt.Fprint(w, "\nflags:\n")
	printRows(w, flagRows(flags))
}

// reflow wraps the paragraphs of text. Lines that begin with a space are examples and stay as they are.
func reflow(text string) string {
	var out, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out = append(out, wrap(strings.Join(paragraph, " "), columns)...)
		}
		paragraph = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == ' ' {
			flush()
			out = append(out, line)
			continue
		}
		paragraph = append(paragraph, line)
	}
	flush()
	return strings.Join(out, "\n")
}

// flagRows returns one row for each flag, with the name of its value and its default.
func flagRows(flags *flag.FlagSet) [][2]string {
	var rows [][2]string
	flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		left := "--" + f.Name
		if len(f.Name) == 1 {
			left = "-" + f.Name
		}
		if value != "" {
			left += " " + value
		}
		switch f.DefValue {
		case "", "0", "0s", "false", "[]":
		default:
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		rows = append(rows, [2]string{left, usage})
	})
	return append(rows, [2]string{"-h, --help", "show this text"})
}

// printRows prints two columns; the second one is wrapped.
func printRows(w io.Writer, rows [][2]string) {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	width = min(width, 24) // a longer one pushes only its own text to the right
	for _, row := range rows {
		lines := wrap(row[1], columns-width-4)
		fmt.Fprintf(w, "  %-*s  %s\n", width, row[0], lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(w, "  %-*s  %s\n", width, "", line)
		}
	}
}

// wrap breaks text at spaces into lines of at most width characters, words longer than that apart. It
// returns at least one line.
func wrap(text string, width int) []string {
	lines, line := []string{}, ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
