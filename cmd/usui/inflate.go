package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"time"

	"usui/internal/cli"
	"usui/machine/virtio/balloon"
	"usui/machine/vmm"
)

var balloonCommand = cli.Command{
	Name:  "balloon",
	Usage: "[flags] name [size]",
	Short: "take memory from a running machine, or give it back",
	Long: `Sets how much of its memory the guest of the machine is to do without, if it was started with --balloon. The guest's driver takes its
time; pages that it gives up go back to the host at once. Without a size it says how the balloon is, and how the guest is.

  usui run --name web --memory 4G --balloon on -- ...
  usui balloon web 2G            the guest does without 2 GiB
  usui balloon web 0             and has them again
  usui balloon --json web`,
	Setup: func(f *flag.FlagSet) cli.Run {
		asJSON := f.Bool("json", false, "print the balloon as JSON")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return cli.UsageError("name a machine, and a size if it is to change")
			}
			if len(args) == 2 {
				var size sizeValue
				if err := size.Set(args[1]); err != nil {
					return cli.UsageError("%v", err)
				}
				return call(ctx, args[0], http.MethodPut, "/usui/balloon", balloonTarget{uint64(size)}, nil)
			}
			var state balloonState
			if err := call(ctx, args[0], http.MethodGet, "/usui/balloon", nil, &state); err != nil {
				return err
			}
			if *asJSON {
				return json.NewEncoder(env.Stdout).Encode(state)
			}
			return state.print(env)
		}
	},
}

// balloonTarget is the body of PUT /usui/balloon.
type balloonTarget struct {
	Target uint64 `json:"targetBytes"`
}

// balloonState is the answer to GET /usui/balloon.
type balloonState struct {
	Target uint64              `json:"targetBytes"` // what the guest is to do without
	Actual uint64              `json:"actualBytes"` // what it does without
	Guest  *balloon.GuestStats `json:"guest,omitempty"`
	Why    string              `json:"why,omitempty"` // there is no Guest
}

func (s balloonState) print(env *cli.Env) error {
	const mib = 1 << 20
	text := fmt.Sprintf("target  %d MiB\nactual  %d MiB\n", s.Target/mib, s.Actual/mib)
	if s.Guest != nil {
		text += fmt.Sprintf("guest   %d MiB in all, %d MiB free, %d MiB available\n", s.Guest.TotalBytes/mib, s.Guest.FreeBytes/mib, s.Guest.AvailableBytes/mib)
	} else {
		text += "guest   " + s.Why + "\n"
	}
	_, err := fmt.Fprint(env.Stdout, text)
	return err
}

// errNoBalloon is the answer of a machine without one.
const errNoBalloon = "it has no balloon: it was started without --balloon, or the balloon was unplugged"

// balloonDevice is the machine's balloon; nil: there is none, or the guest let go of it.
func (l *live) balloonDevice() *balloon.Balloon {
	if !slices.ContainsFunc(l.machine.Devices(), func(d vmm.Attached) bool { return d.Name == "balloon" }) {
		return nil
	}
	return l.options.balloon.device
}

// guestPatience is how long a guest gets to answer.
const guestPatience = 2 * time.Second

// balloon answers GET /usui/balloon.
func (l *live) balloon(w http.ResponseWriter, r *http.Request) {
	d := l.balloonDevice()
	if d == nil {
		http.Error(w, errNoBalloon, http.StatusNotFound)
		return
	}
	state := balloonState{Target: d.Target(), Actual: d.Actual()}
	ctx, stop := context.WithTimeoutCause(r.Context(), guestPatience, fmt.Errorf("does not answer within %v", guestPatience))
	defer stop()
	if stats, err := d.GuestStats(ctx); err != nil {
		state.Why = err.Error()
	} else {
		state.Guest = &stats
	}
	reply(w, state)
}

// inflate answers PUT /usui/balloon.
func (l *live) inflate(w http.ResponseWriter, r *http.Request) {
	d := l.balloonDevice()
	if d == nil {
		http.Error(w, errNoBalloon, http.StatusNotFound)
		return
	}
	var request balloonTarget
	if !decode(w, r, &request) {
		return
	}
	if most := uint64(l.options.memory) - leastMemory; request.Target > most {
		http.Error(w, fmt.Sprintf("%d MiB of %d: a Linux kernel needs %d MiB of them", request.Target>>20, l.options.memory>>20, leastMemory>>20), http.StatusConflict)
		return
	}
	if err := d.SetTarget(request.Target); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
