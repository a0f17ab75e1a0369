package fsmove

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"usui/internal/cli"
)

// Commands are those of the program usui-fsmove.
func Commands() []cli.Command { return []cli.Command{startCommand} }

var startCommand = cli.Command{
	Name:  "start",
	Usage: "SRC DST MOUNTPOINT",
	Short: "move a tree while clients use it",
	Long: `
Mounts a tree at MOUNTPOINT, usable at once, while it moves from SRC to DST: what clients look at is fetched for them, and the rest beside that. When
everything has arrived, DST itself takes the mount's place, with no moment between, and the command ends; nothing of it is left.

  usui fsmove start /mnt/old /srv/new /export

SRC is any directory, of a local disk or of another server (NFS, CIFS, sshfs). It is never written, and nobody else may write it from now on: what has
changed since it was listed is an error. DST is an empty directory of ext4 or xfs.

While SRC is away, clients that need something of it wait; --timeout says for how long, before they get an error. What DST cannot hold, such as a name or an
attribute, is left out and told of, and the mount stays where it is; with --leave-out the command ends without it.

After SIGINT, SIGTERM or a crash the same command goes on; clients have to open their files again. It takes root.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		timeout := f.Duration("timeout", 0, "how long clients wait for a source that is away; 0 is for ever")
		leaveOut := f.Bool("leave-out", false, "end without what the destination cannot hold")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			return start(ctx, env, args, Config{Timeout: *timeout, LeaveOut: *leaveOut})
		}
	},
}

// reportEvery is how often a move tells how far it is.
const reportEvery = 10 * time.Second

func start(ctx context.Context, env *cli.Env, args []string, cfg Config) error {
	if len(args) != 3 {
		return cli.UsageError("%d arguments: say SRC, DST and MOUNTPOINT, as in: /mnt/old /srv/new /export", len(args))
	}
	cfg.Source, cfg.Destination, cfg.MountPoint = args[0], args[1], args[2]
	cfg.Logger = slog.New(slog.NewTextHandler(env.Stderr, nil))
	v, err := New(cfg)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(env.Stdout, "%s is at %s, on its way to %s\n", args[0], args[2], args[1]); err != nil {
		return errors.Join(err, v.Close())
	}
	report := func() {
		s := v.Stats()
		fmt.Fprintf(env.Stderr, "%d folders listed, %d entries made, %d files and %d MiB fetched\n", s.FoldersListed, s.EntriesMade, s.FilesFilled, s.BytesFetched>>20)
	}
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }() // until everything has arrived, or ctx ends
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			report()
		case err := <-done:
			report()
			if errors.Is(err, context.Canceled) {
				_, err := fmt.Fprintln(env.Stdout, "not everything has arrived: the same command goes on")
				return err
			}
			if err == nil {
				_, err = fmt.Fprintf(env.Stdout, "everything has arrived: %s is at %s\n", args[1], args[2])
			}
			return err
		}
	}
}
