package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/cli"
	"usui/internal/rundir"
	"usui/machine/vmm"
)

var plugCommand = cli.Command{
	Name:  "plug",
	Usage: "--disk FILE[,option...] name",
	Short: "give a running machine another disk",
	Long: `Plugs a device into the machine of that name, which was started by "usui run --name" or is listed by "usui top", and prints the
device's name. The guest hears of it through ACPI; a stock Linux kernel takes it at once.

  usui plug --disk data.img,iops=500 web
  usui unplug web disk1`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o plugRequest
		f.StringVar(&o.Disk, "disk", "", "plug in the raw image or block device `file[,ro][,queues=N][,iops=N][,bw=SIZE]`")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			if len(args) != 1 || o.Disk == "" {
				return cli.UsageError("name a machine, and a device with --disk")
			}
			d, err := parseMachineDisk(o.Disk)
			if err != nil {
				return cli.UsageError("--disk %v", err)
			}
			path, err := filepath.Abs(d.Path) // the machine's folder is another one
			if err != nil {
				return err
			}
			o.Disk = path + d.options
			var answer plugAnswer
			if err := call(ctx, args[0], http.MethodPost, "/usui/devices", o, &answer); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, answer.Name)
			return err
		}
	},
}

var unplugCommand = cli.Command{
	Name:  "unplug",
	Usage: "[flags] name device",
	Short: "take a device from a running machine",
	Long: `Asks the guest of the machine to let go of a device and waits until it has. What the guest had asked of the device is completed
first. A guest whose kernel does not answer keeps its device.

  usui unplug web disk1

Without a device it lists those that the machine has.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		timeout := f.Duration("timeout", 30*time.Second, "give up after this `time`; the guest may let go of it later")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			switch len(args) {
			case 1:
				var list []attachedDevice
				if err := call(ctx, args[0], http.MethodGet, "/usui/devices", nil, &list); err != nil {
					return err
				}
				for _, d := range list {
					fmt.Fprintf(env.Stdout, "%-2d %-10s %-9s %s\n", d.Slot, d.Name, d.State, d.Detail)
				}
				return nil
			case 2:
				ctx, stop := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("the guest has not let go of it within %v", *timeout))
				defer stop()
				return call(ctx, args[0], http.MethodDelete, "/usui/devices/"+args[1], nil, nil)
			}
			return cli.UsageError("name a machine and one of its devices")
		}
	},
}

// plugRequest is the body of POST /usui/devices.
type plugRequest struct {
	Disk string `json:"disk"` // as for usui run --disk, with an absolute path
}

// plugAnswer is the answer.
type plugAnswer struct {
	Name string `json:"name"`
	Slot int    `json:"slot"` // device number on PCI bus 0
}

// attachedDevice is an item of GET /usui/devices.
type attachedDevice struct {
	Name   string `json:"name"`
	Slot   int    `json:"slot"`
	State  string `json:"state"` // announced, present or leaving
	Detail string `json:"detail,omitempty"`
}

// call asks a machine to do something. An answer that is no success becomes an error with its text.
func call(ctx context.Context, name, method, path string, body, result any) error {
	client, err := rundir.Client(name)
	if err != nil {
		return cli.UsageError("%v", err)
	}
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://machine"+path, in)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("machine %s: no machine of this name runs; usui top lists those that do", name)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("machine %s: %w", name, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("machine %s: %w", name, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("machine %s: %w", name, err)
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("machine %s: %s", name, strings.TrimSpace(string(text)))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(text, result)
}

// plug answers POST /usui/devices.
func (l *live) plug(w http.ResponseWriter, r *http.Request) {
	var request plugRequest
	if !decode(w, r, &request) {
		return
	}
	answer, err := l.plugDisk(request.Disk)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	reply(w, answer)
}

// decode reads the body of a request, or answers that it is none.
func decode(w http.ResponseWriter, r *http.Request, request any) bool {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxHeader))
	in.DisallowUnknownFields()
	err := in.Decode(request)
	if err != nil {
		http.Error(w, "a request that is not understood: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// reply writes a JSON answer.
func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone
}

// plugDisk opens a disk and plugs it in. It is closed when the guest has let go of it, or by the machine.
func (l *live) plugDisk(text string) (answer plugAnswer, err error) {
	d, err := parseMachineDisk(text)
	if err != nil {
		return answer, err
	}
	if !filepath.IsAbs(d.Path) {
		return answer, fmt.Errorf("%q: a machine that runs needs an absolute path", d.Path)
	}
	if info, err := os.Stat(d.Path); err != nil || info.IsDir() {
		return answer, fmt.Errorf("disk %s: no file or block device (%v)", d.Path, err)
	}
	l.plugging.Lock()
	defer l.plugging.Unlock()
	name := diskName(l.disks)
	file, device, err := d.open(l.disks, l.options.cpus, l.log)
	if err != nil {
		return answer, err
	}
	gone := func() {
		l.forget(name)
		file.Close() // nothing is in flight any more
	}
	l.watch(source{Kind: "blk", Name: name, Detail: d.Path, stats: func() any { return device.Stats() }}) // before it can be gone
	if answer.Slot, err = l.machine.Plug(vmm.Virtio{Name: name, Device: device, Gone: gone}); err != nil {
		l.forget(name)
		return answer, errors.Join(err, file.Close())
	}
	answer.Name = name
	l.disks++
	return answer, nil
}

// unplug answers DELETE /usui/devices/NAME, when the guest has let go of it.
func (l *live) unplug(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil { // the guest takes its time, the client may go
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := l.machine.Unplug(r.Context(), r.PathValue("name")); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// devices answers GET /usui/devices.
func (l *live) devices(w http.ResponseWriter, _ *http.Request) {
	list := []attachedDevice{}
	for _, d := range l.machine.Devices() {
		list = append(list, attachedDevice{Name: d.Name, Slot: d.Slot, State: d.State.String(), Detail: l.detail(d.Name)})
	}
	reply(w, list)
}
