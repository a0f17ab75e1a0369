package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	gonet "net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usui/internal/cli"
	"usui/internal/metrics/scrape"
	"usui/internal/rundir"
	"usui/machine/virtio"
	"usui/machine/vmm"
)

var plugCommand = cli.Command{
	Name:  "plug",
	Usage: "--disk FILE[,option...] | --net tap[=NAME][,option...] name",
	Short: "give a running machine another disk or network card",
	Long: `Plugs a device into the machine of that name, which was started by "usui run --name" or is listed by "usui top", and prints the
device's name. The guest hears of it through ACPI; a stock Linux kernel takes it at once.

  usui plug --disk data.img,iops=500 web
  usui plug --net tap=t1 web
  usui unplug web disk1

The options are those of "usui run". A card is plugged into a tap; user networking (--net user) is there from the start or not at all.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o plugRequest
		f.StringVar(&o.Disk, "disk", "", "plug in the raw image or block device `file[,ro][,queues=N][,iops=N][,bw=SIZE]`")
		f.StringVar(&o.Net, "net", "", "plug in a network `card` tap[=NAME][,mac=MAC][,mtu=BYTES][,queues=N][,rx-bw=SIZE][,tx-bw=SIZE][,rx-pps=N][,tx-pps=N][,vhost]")
		return func(ctx context.Context, env *cli.Env, args []string) error {
			if len(args) != 1 || (o.Disk == "") == (o.Net == "") {
				return cli.UsageError("name a machine, and one device with --disk or --net")
			}
			if err := o.check(); err != nil {
				return err
			}
			var answer plugAnswer
			if err := call(ctx, args[0], http.MethodPost, "/usui/devices", o, &answer); err != nil {
				return err
			}
			if answer.Interface != "" {
				fmt.Fprintf(env.Stderr, "usui: plug: a network card with address %s is plugged into the tap %s\n", answer.MAC, answer.Interface)
			}
			_, err := fmt.Fprintln(env.Stdout, answer.Name)
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
				if args[1] == "" {
					return cli.UsageError("name a machine and one of its devices; usui unplug %s lists them", args[0])
				}
				ctx, stop := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("the guest has not let go of it within %v", *timeout))
				defer stop()
				return call(ctx, args[0], http.MethodDelete, "/usui/devices/"+url.PathEscape(args[1]), nil, nil)
			}
			return cli.UsageError("name a machine and one of its devices")
		}
	},
}

// plugRequest is the body of POST /usui/devices: one device.
type plugRequest struct {
	Disk string `json:"disk,omitempty"` // as for usui run --disk, with an absolute path
	Net  string `json:"net,omitempty"`  // as for usui run --net, a tap
}

// check refuses what no machine takes, and makes a disk's path absolute: the machine's folder is another one.
func (r *plugRequest) check() error {
	if r.Net != "" {
		if _, err := parsePluggedCard(r.Net); err != nil {
			return cli.UsageError("--net %v", err)
		}
		return nil
	}
	d, err := parseMachineDisk(r.Disk)
	if err != nil {
		return cli.UsageError("--disk %v", err)
	}
	path, err := filepath.Abs(d.Path)
	r.Disk = path + d.options
	return err
}

// parsePluggedCard is parseNet for a machine that runs.
func parsePluggedCard(text string) (netCard, error) {
	c, err := parseNet(text)
	if err == nil && c.user != nil {
		err = fmt.Errorf("%q: user networking is given to a machine when it starts; plug in a tap", text)
	}
	return c, err
}

// plugAnswer is the answer.
type plugAnswer struct {
	Name      string `json:"name"`
	Slot      int    `json:"slot"`                // device number on PCI bus 0
	Interface string `json:"interface,omitempty"` // the tap that a card is plugged into
	MAC       string `json:"mac,omitempty"`
}

// attachedDevice is an item of GET /usui/devices.
type attachedDevice struct {
	Name   string `json:"name"`
	Slot   int    `json:"slot"`
	State  string `json:"state"` // announced, present or leaving
	Detail string `json:"detail,omitempty"`
}

// callTime is how long a machine may take to answer who set no other time.
const callTime = 30 * time.Second

// call asks a machine to do something. An answer that is no success becomes an error with its text.
func call(ctx context.Context, name, method, path string, body, result any) error {
	if _, limited := ctx.Deadline(); !limited {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, callTime, fmt.Errorf("no answer within %v; is it stopped?", callTime))
		defer stop()
	}
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
	case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("machine %s: it has ended", name)
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
	var answer plugAnswer
	var err error
	switch {
	case request.Disk != "" && request.Net == "":
		answer, err = l.plugDisk(request.Disk)
	case request.Net != "" && request.Disk == "":
		answer, err = l.plugCard(request.Net)
	default:
		http.Error(w, "a request for one device: disk or net", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	reply(w, answer)
}

// decode reads the body of a request, or answers that it is none.
func decode(w http.ResponseWriter, r *http.Request, request any) bool {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, scrape.MaxHeader))
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
	switch info, err := os.Stat(d.Path); {
	case err != nil:
		return answer, fmt.Errorf("disk: %w", err)
	case info.IsDir():
		return answer, fmt.Errorf("disk %s: a folder; a disk is a file or a block device", d.Path)
	}
	l.plugging.Lock()
	defer l.plugging.Unlock()
	file, device, err := d.open(l.disks, l.options.cpus, l.log)
	if err != nil {
		return answer, err
	}
	answer.Name = diskName(l.disks)
	answer.Slot, err = l.insert(device, file, diskSource(answer.Name, d.Path, device))
	if err == nil {
		l.disks++
	}
	return answer, err
}

// plugCard opens or makes a tap and plugs a card into it and the machine. The tap is closed when the guest has let go of the card.
func (l *live) plugCard(text string) (answer plugAnswer, err error) {
	c, err := parsePluggedCard(text)
	if err != nil {
		return answer, err
	}
	l.plugging.Lock()
	defer l.plugging.Unlock()
	if err := l.checkCard(c); err != nil {
		return answer, err
	}
	cable, card, err := c.open(l.log)
	if err != nil {
		return answer, err
	}
	l.waiters(c.queues)
	behind := closer(func() error {
		l.waiters(-c.queues)
		return cable.Close()
	})
	answer = plugAnswer{Name: cardName(l.cards), Interface: cable.Name(), MAC: card.MAC().String()}
	answer.Slot, err = l.insert(card, behind, cardSource(answer.Name, cable.Name(), card))
	if err == nil {
		l.cards++
	}
	return answer, err
}

// checkCard refuses what another card of the machine has already.
func (l *live) checkCard(c netCard) error {
	for _, s := range l.list() {
		switch {
		case s.mac == "":
		case s.Detail == c.name:
			return fmt.Errorf("--net %s: another card of the machine has that tap already; each needs its own", c)
		case s.mac == gonet.HardwareAddr(c.mac[:]).String():
			return fmt.Errorf("--net %s: another card of the machine has that address already", c)
		}
	}
	return nil
}

// waiters tells the runtime that so many more goroutines wait in system calls for the host, as in here.
func (l *live) waiters(n int) {
	l.procs.Lock()
	defer l.procs.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// insert plugs a device into the machine, where others can watch it, and closes what is behind it when it is gone or never came.
func (l *live) insert(d virtio.Device, behind io.Closer, s source) (slot int, err error) {
	s.device = s.Name
	gone := func() {
		l.forget(s.device)
		closeBehind(s.device, behind.Close, l.log)
	}
	l.watch(s) // before it can be gone
	if slot, err = l.machine.Plug(vmm.Virtio{Name: s.device, Device: d, Gone: gone}); err != nil {
		l.forget(s.device)
		return 0, errors.Join(err, behind.Close())
	}
	return slot, nil
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
