package control

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"usui/internal/cli"
)

// environment is what a command writes to.
type environment = cli.Env

// Commands are those that ask a move which is running.
func Commands() []cli.Command {
	return []cli.Command{statusCommand, pauseCommand, finishCommand, abortCommand}
}

var statusCommand = cli.Command{
	Name:        "status",
	Usage:       "[--watch] [--json] [DIRECTORY]",
	Short:       "say how moves are that are running",
	FlagsBehind: true,
	Long: `
Tells of each move that is running on this machine, or of the one whose source, destination or mount point DIRECTORY is: what has arrived, how fast, how long the
rest takes, what clients wait for, what could not be had and why.

  usui fsmove status
  usui fsmove status /export
  usui fsmove status --watch /export       again and again, until it ends
  usui fsmove status --json                one document for each; with --watch, one line for each look

How long it takes is said of what is known to wait. What lies in folders that were not listed yet is not known; they are counted.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o statusOptions
		f.BoolVar(&o.watch, "watch", false, "look again every second, until the move ends")
		f.BoolVar(&o.json, "json", false, "write JSON")
		return o.run
	},
}

var pauseCommand = cli.Command{
	Name:  "pause",
	Usage: "DIRECTORY",
	Short: "fetch only what clients ask for, until resume",
	Long: `
Has a move fetch nothing but what clients wait for: source and destination are left in peace. It stays so over a restart, until usui fsmove resume. DIRECTORY is
the move's source, destination or mount point.

  usui fsmove pause /export
  usui fsmove resume /export`,
	Setup: func(*flag.FlagSet) cli.Run {
		return of(func(ctx context.Context, env *environment, c *Client, s Status) error {
			if err := c.Pause(ctx, true); err != nil {
				return err
			}
			return say(env, "%s: only what clients ask for is fetched, until usui fsmove resume %s", s.MountPoint, s.MountPoint)
		})
	},
}

var finishCommand = cli.Command{
	Name:        "finish",
	Usage:       "[--verify full|quick|none] [--accept-skipped] DIRECTORY",
	Short:       "wait until everything has arrived, verify it, and end the move",
	FlagsBehind: true,
	Long: `
Waits until everything has arrived, compares source and destination, and puts the destination in the mount's place, with no moment between. Clients go on all the time.
Then the move's process ends as soon as nobody has a file open from before.

  usui fsmove finish /export
  usui fsmove finish --verify quick /export       compares metadata alone
  usui fsmove finish --verify none /export

To verify reads all of both trees again, so it takes about as long as the move did. What clients have changed is not compared. What differs without that is damage: it is named, and
the move goes on as before. So it is if something of the source was skipped, as a name that the destination cannot hold: usui fsmove status tells what, and --accept-skipped
does without. An interrupt takes the command back, and changes nothing.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o FinishOptions
		o.Declare(f)
		return func(ctx context.Context, env *environment, args []string) error {
			how, err := o.Consent()
			if err != nil {
				return err
			}
			return of(func(ctx context.Context, env *environment, c *Client, s Status) error {
				return finish(ctx, env, c, s, how)
			})(ctx, env, args)
		}
	},
}

var abortCommand = cli.Command{
	Name:  "abort",
	Usage: "DIRECTORY",
	Short: "give a move up that no client has changed anything in",
	Long: `
Takes the mount away and removes all that has arrived, so that source and destination are as before the move. That can be done until a client changes anything: from then on
the destination has what the source has not, and the command is refused, and says how to go back.

  usui fsmove abort /export`,
	Setup: func(*flag.FlagSet) cli.Run {
		return of(func(ctx context.Context, env *environment, c *Client, s Status) error {
			if err := c.Abort(ctx); err != nil {
				return err
			}
			return say(env, "given up: nothing is mounted at %s by this move, and %s is empty again; clients use %s as before", s.MountPoint, s.Destination, s.Source)
		})
	},
}

// FinishOptions are how a move may be ended.
type FinishOptions struct {
	verify  string
	skipped bool
}

// Declare declares the flags.
func (o *FinishOptions) Declare(f *flag.FlagSet) {
	f.StringVar(&o.verify, "verify", string(Full), "before the end compare `HOW` much: full (all data), quick (metadata) or none")
	f.BoolVar(&o.skipped, "accept-skipped", false, "end also if something of the source was skipped")
}

// Flags are the flags as they were written.
func (o *FinishOptions) Flags() []string {
	return []string{"--verify=" + o.verify, fmt.Sprintf("--accept-skipped=%t", o.skipped)}
}

// Consent is what they say.
func (o *FinishOptions) Consent() (Consent, error) {
	switch v := Verify(o.verify); v {
	case Full, Quick, None:
		return Consent{v, o.skipped}, nil
	}
	return Consent{}, cli.UsageError("--verify %q: say full, quick or none", o.verify)
}

// of is a command for the move that its one argument names.
func of(f func(ctx context.Context, env *environment, c *Client, s Status) error) cli.Run {
	return func(ctx context.Context, env *environment, args []string) error {
		if len(args) != 1 {
			return cli.UsageError("name one directory: the move's mount point, source or destination, as in: /export")
		}
		c, s, err := Find(ctx, args[0])
		if errors.Is(err, ErrNone) {
			return fmt.Errorf("%w; usui fsmove status lists those that run, and usui fsmove resume DESTINATION goes on with one that was ended", err)
		}
		if err != nil {
			return err
		}
		return f(ctx, env, c, s)
	}
}

func say(env *environment, format string, a ...any) error {
	_, err := fmt.Fprintf(env.Stdout, format+"\n", a...)
	return err
}

// lookEvery is how often a move is looked at by who waits for it.
const lookEvery = time.Second

// finish ends a move, and tells meanwhile how far it is.
func finish(ctx context.Context, env *environment, c *Client, before Status, how Consent) error {
	done := make(chan error, 1)
	go func() { done <- c.Finish(ctx, how) }() // until it is done, or ctx ends
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	at, last := time.Now(), ""
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			return say(env, "%s is at %s", before.Destination, before.MountPoint)
		case now := <-ticker.C:
			s, err := c.Status(ctx)
			if err != nil {
				continue // done says why
			}
			line := progress(s, Between(before, s, now.Sub(at)))
			if line != last {
				fmt.Fprintln(env.Stderr, line)
			}
			at, before, last = now, s, line
		}
	}
}

type statusOptions struct{ watch, json bool }

func (o *statusOptions) run(ctx context.Context, env *environment, args []string) error {
	if len(args) > 1 {
		return cli.UsageError("%d arguments: name one directory, or none for all moves", len(args))
	}
	look := func() ([]Status, error) {
		if len(args) == 0 {
			_, all, err := All(ctx)
			return all, err
		}
		_, s, err := Find(ctx, args[0])
		return []Status{s}, err
	}
	all, err := look()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return say(env, "no move is running")
	}
	if !o.watch {
		return o.show(env.Stdout, nil, all, 0)
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	before, at := []Status(nil), time.Now()
	for {
		now := time.Now()
		if err := o.show(env.Stdout, before, all, now.Sub(at)); err != nil {
			return err
		}
		before, at = all, now
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		all, err = look()
		if errors.Is(err, ErrNone) || err == nil && len(all) == 0 {
			if !o.json {
				return say(env, "it has ended")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// show writes what was seen. before is what was seen the last time, if there was one.
func (o *statusOptions) show(w io.Writer, before, all []Status, took time.Duration) error {
	for _, s := range all {
		var p Progress
		for _, b := range before {
			if b.MountPoint == s.MountPoint {
				p = Between(b, s, took)
			}
		}
		var err error
		switch {
		case o.json:
			err = json.NewEncoder(w).Encode(struct {
				Status
				Progress
				SecondsLeft *float64 `json:"seconds_left,omitempty"`
			}{s, p, seconds(p.Left)})
		case o.watch:
			_, err = fmt.Fprintf(w, "%s  %s\n", s.MountPoint, progress(s, p))
		default:
			_, err = io.WriteString(w, report(s))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.Seconds()
	return &s
}
