package fsmove

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"usui/internal/cli"
	"usui/layer/fsmove/compare"
	"usui/layer/fsmove/survey"
)

// Commands are those of the program usui-fsmove.
func Commands() []cli.Command { return []cli.Command{survey.Command, startCommand, compare.Command} }

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

After SIGINT, SIGTERM or a crash the same command goes on; clients have to open their files again. It takes root.`,
	Setup: func(f *flag.FlagSet) cli.Run { return start },
}

// reportEvery is how often a move tells how far it is.
const reportEvery = 10 * time.Second

func start(ctx context.Context, env *cli.Env, args []string) error {
	if len(args) != 3 {
		return cli.UsageError("%d arguments: say SRC, DST and MOUNTPOINT, as in: /mnt/old /srv/new /export", len(args))
	}
	v, err := New(Config{Source: args[0], Destination: args[1], MountPoint: args[2], Logger: slog.New(slog.NewTextHandler(env.Stderr, nil))})
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
