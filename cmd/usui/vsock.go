package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"usui/internal/cli"
	"usui/internal/lab"
	"usui/machine/virtio/vsock"
)

// vsockPart is a machine's socket device.
type vsockPart struct {
	text  string // as the user wrote it; empty: there is none
	cid   uint32
	path  string // of the Unix socket; empty with vhost
	vhost bool   // the host's kernel serves it
}

func (p *vsockPart) flags(f *flag.FlagSet) {
	f.Func("vsock", "add sockets between guest and host, `cid=N,path=PATH` or cid=N,vhost; N, 3 or more, is the guest's address.\n"+
		"With a path, a program of the host that connects to the Unix socket PATH and writes the line \"CONNECT 1234\" reaches\n"+
		"port 1234 of the guest, and the guest reaches at port 1234 of CID 2 whoever listens at the Unix socket PATH_1234.\n"+
		"With vhost the host's kernel serves them, and programs of the host use AF_VSOCK", p.set)
}

// vsockForm is what a value looks like.
const vsockForm = "cid=N,path=PATH or cid=N,vhost"

// set parses the flag's value. A path is the rest of it, so that it may hold commas.
func (p *vsockPart) set(text string) error {
	if p.text != "" {
		return errors.New("given twice: a machine has one such device")
	}
	for rest, more := text, true; more; {
		var option string
		if option, more = rest, false; !strings.HasPrefix(rest, "path=") {
			option, rest, more = strings.Cut(rest, ",")
		}
		switch name, value, _ := strings.Cut(option, "="); {
		case name == "cid":
			cid, err := strconv.ParseUint(value, 10, 32)
			if err != nil || cid < vsock.MinCID || cid > vsock.MaxCID {
				return fmt.Errorf("%q in %q: a guest's CID is %d to %d", option, text, vsock.MinCID, uint32(vsock.MaxCID))
			}
			p.cid = uint32(cid)
		case name == "path" && value != "":
			p.path = value
		case option == "vhost":
			p.vhost = true
		default:
			return fmt.Errorf("%q in %q: write %s", option, text, vsockForm)
		}
	}
	if p.cid == 0 || p.vhost == (p.path != "") {
		return fmt.Errorf("%q: write %s", text, vsockForm)
	}
	p.text = text
	return nil
}

func (p *vsockPart) check() error {
	if len(p.path) > vsock.MaxPath {
		return cli.UsageError("--vsock %s: the path has %d bytes, and a Unix socket's at most %d; choose a shorter one", p.text, len(p.path), vsock.MaxPath)
	}
	return nil
}

// checkHost refuses a path whose folder is not there, and vhost where the kernel has none.
func (p *vsockPart) checkHost() error {
	if p.vhost {
		_, err := os.Stat("/dev/vhost-vsock")
		if err != nil {
			return fmt.Errorf("--vsock %s: %w; modprobe vhost_vsock, or write cid=%d,path=PATH for Unix sockets", p.text, err, p.cid)
		}
		return nil
	}
	if p.path == "" {
		return nil
	}
	info, err := os.Stat(filepath.Dir(p.path))
	if err != nil {
		return fmt.Errorf("--vsock: %w; choose a path in a folder that is there", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--vsock %s: %s is no folder; choose a path in one", p.text, filepath.Dir(p.path))
	}
	return nil
}

func (p *vsockPart) argv() []string {
	if p.text == "" {
		return nil
	}
	return []string{"--vsock", p.text}
}

// prepareLab refuses: nobody could reach the sockets.
func (p *vsockPart) prepareLab(*lab.Config) error {
	if p.text == "" {
		return nil
	}
	return fmt.Errorf("--vsock %s: this machine would run inside the lab, whose sockets no program out here reaches; "+
		"start both in there: usui lab -- sh -c 'PROGRAM & usui run --vsock ...'", p.text)
}

func (p *vsockPart) build(_ context.Context, b *builder) error {
	switch {
	case p.text == "":
	case p.vhost:
		d, err := vsock.NewVhost(p.cid)
		if err != nil {
			return err
		}
		b.attach("vsock", d, d)
	default:
		d, err := vsock.New(vsock.Config{CID: p.cid, Path: p.path})
		if err != nil {
			return err
		}
		b.attach("vsock", d, d, source{Kind: "vsock", Name: strconv.FormatUint(uint64(p.cid), 10), Detail: p.path, stats: func() any { return d.Stats() }})
	}
	return nil
}
