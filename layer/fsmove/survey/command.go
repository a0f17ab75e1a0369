package survey

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"usui/internal/cli"
)

// Command is "usui fsmove plan".
var Command = cli.Command{
	Name:  "plan",
	Usage: "[--json] SRC DST",
	Short: "say what a move will meet",
	Long: `
Walks SRC and says what is in it, what cannot be moved to DST, what will differ there and what else is good to know, whether there is room, and how long a move may take.

  usui fsmove plan /mnt/old /srv/new

SRC is never written; some of it is read for three seconds. DST need not exist; if it does and is empty, what it holds is tried in a temporary folder, which is removed.

It ends with status 1 if anything cannot be moved.`,
	FlagsBehind: true,
	Setup: func(f *flag.FlagSet) cli.Run {
		asJSON := f.Bool("json", false, "print the report as JSON, with all that is listed")
		return func(ctx context.Context, env *cli.Env, args []string) error { return plan(ctx, env, args, *asJSON) }
	},
}

const (
	sampleFor = 3 * time.Second
	listed    = 5 // paths of each finding that a person is told
)

func plan(ctx context.Context, env *cli.Env, args []string, asJSON bool) error {
	if len(args) != 2 {
		return cli.UsageError("%d arguments: say SRC and DST, as in: /mnt/old /srv/new", len(args))
	}
	r, err := Run(ctx, Config{Source: args[0], Destination: args[1], Sample: sampleFor, Progress: func(entries uint64) {
		fmt.Fprintf(env.Stderr, "%d entries walked\n", entries)
	}})
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.WriteText(env.Stdout, listed)
	}
	if err == nil && !r.Movable() {
		return cli.ExitStatus(1)
	}
	return err
}
