package compare

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"usui/internal/cli"
	"usui/layer/fsmove/migration"
	"usui/layer/fsmove/tree"
)

// Command is "usui fsmove verify".
var Command = cli.Command{
	Name:  "verify",
	Usage: "[--quick] [--json] SRC DST",
	Short: "compare what has arrived with the source",
	Long: `
Looks at each entry of SRC under the same name in DST: metadata, extended attributes, links, and content byte by byte, read from DST's disk. Clients may have changed
DST since: what has another time of modification counts as theirs. What differs and has the same time is damaged.

  usui fsmove verify /mnt/old /srv/new
  usui fsmove verify --quick /mnt/old /srv/new      metadata only

It ends with status 1 if anything is damaged, could not be read, or was changed at the source meanwhile. Neither side is written. A move has to be over before.`,
	FlagsBehind: true,
	Setup: func(f *flag.FlagSet) cli.Run {
		var v verify
		f.BoolVar(&v.quick, "quick", false, "compare metadata only")
		f.BoolVar(&v.json, "json", false, "print the report as JSON, with all that is listed")
		return v.run
	},
}

type verify struct{ quick, json bool }

// listed is how many of each class a person is told.
const listed = 20

func (v *verify) run(ctx context.Context, env *cli.Env, args []string) error {
	if len(args) != 2 {
		return cli.UsageError("%d arguments: say SRC and DST, as in: /mnt/old /srv/new", len(args))
	}
	src, err := tree.Open(args[0])
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := tree.Open(args[1])
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := tree.Stat(dst.Fd(), migration.StateFolder); err == nil {
		return fmt.Errorf("%s: a move to it is not over: what has not arrived would count as damaged", args[1])
	}
	r, err := Trees(ctx, src, dst, Options{Quick: v.quick, Skip: Skip, Progress: func(r Report) {
		fmt.Fprintf(env.Stderr, "%d entries and %d MiB compared, %d changed, %d damaged\n", r.Entries, r.Bytes>>20, r.Changed.Count, r.Damaged.Count)
	}})
	if err != nil {
		return err
	}
	if err := v.print(env.Stdout, &r); err != nil {
		return err
	}
	if !r.Good() {
		return cli.ExitStatus(1)
	}
	return nil
}

// Skip leaves out what is no part of what is moved.
func Skip(path string) bool { return migration.Reserved(path) || path == "lost+found" }

func (v *verify) print(w io.Writer, r *Report) error {
	if !v.json {
		return r.WriteText(w, listed)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
