package kv

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"usui/internal/cli"
	"usui/internal/metrics/scrape"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/server"
)

// Commands are those of the program usui-kv.
func Commands() []cli.Command { return []cli.Command{serveCommand, checkCommand, backupCommand} }

var serveCommand = cli.Command{
	Name:  "serve",
	Usage: "--dir DIR [--listen ADDRESS]",
	Short: "serve clients of Redis from a folder",
	Long: `
Serves what is in a folder, which is made if it is not there, to clients of Redis. What is acknowledged is durable: replies wait until
the disk has what they speak of. One sync is for all clients that wrote while the last one lasted, and reads go on meanwhile.

  usui kv serve --dir /var/lib/kv
  redis-cli set greeting hello
  usui kv check /var/lib/kv                     verifies every record, while nobody serves it

It listens on this machine alone unless --listen says otherwise; --listen :6379 is everywhere, and should have a password. The password is
in a file, so that it is not seen in the list of processes:

  usui kv serve --dir /var/lib/kv --listen :6379 --password-file /etc/kv.password
  usui kv serve --dir /var/lib/kv --listen unix:/run/kv.sock             for its owner alone
  usui kv serve --dir /var/lib/kv --tls-listen :6380 --tls-cert kv.crt --tls-key kv.key
  redis-cli -p 6380 --tls --cacert ca.crt set greeting hello

A folder on a DAX file system is in persistent memory: then a write is one copy and one fence of the processor, without a system call.
--medium fsdax insists on that, --medium file does without; a store can change from one to the other.
Clients can come past the kernel's network stack: --xdp has frames for the server's port put into its own memory (AF_XDP), and its own TCP
answers them. All else stays the kernel's. That saves copies and system calls, which INFO bypass counts; whether it saves time depends on
the network card's driver. Local senders, by veth, may leave checksums out; a card's never are.

  usui kv serve --dir /var/lib/kv --xdp eth0                             at the interface's own address, port 6379
  usui kv serve --dir /var/lib/kv --xdp eth0 --xdp-address 192.0.2.7     at one of its own
  usui kv serve --dir /pmem/kv --xdp eth0 --devdax /dev/dax0.0           values of 1 KiB or more stay where the card put them

With --devdax the log has where such a value lies, and its checksum; its frames are free again when what takes its place is durable. When few
frames are left, further values are copied into the log. The store needs the device from then on, and cannot be backed up online.

On a full disk writes are refused with MISCONF and what to do; reads and deletions go on, and writes again when there is room. After an
error of the disk nothing more is written: restart, and what was acknowledged is there. SIGINT and SIGTERM end the server in order.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o options
		f.StringVar(&o.dir, "dir", "", "keep the store in `DIR`")
		f.StringVar(&o.listen, "listen", "127.0.0.1:6379", "listen at `ADDRESS`, as in :6379 or unix:/run/kv.sock; several with commas between them")
		f.StringVar(&o.tls.Listen, "tls-listen", "", "listen at `ADDRESS` for connections by TLS")
		f.StringVar(&o.tls.Certificate, "tls-cert", "", "the server's certificate is in `FILE`, with those that sign it behind it")
		f.StringVar(&o.tls.Key, "tls-key", "", "its key is in `FILE`")
		f.StringVar(&o.tls.ClientAuthorities, "tls-ca", "", "clients by TLS have to show a certificate that one in `FILE` signed")
		f.StringVar(&o.bypass.Interface, "xdp", "", "also serve TCP by AF_XDP on `INTERFACE`, past the kernel's network stack; it takes root")
		f.StringVar(&o.xdpAddress, "xdp-address", "", "there, serve at `IP`, which nobody else has; without it, at the interface's own")
		f.IntVar(&o.xdpPort, "xdp-port", 6379, "there, serve at `PORT`")
		f.IntVar(&o.xdpMemory, "xdp-memory", 64, "there, use `MIB` for frames")
		f.StringVar(&o.devdax, "devdax", "", "with --xdp, have frames in persistent memory, up to 16 GiB of `DEVICE`, as in /dev/dax0.0, instead of --xdp-memory; long values stay where they came")
		f.StringVar(&o.metrics, "metrics-listen", "", "serve metrics for Prometheus at `ADDRESS`: HOST:PORT, or the path of a Unix socket to make")
		f.StringVar(&o.passwordFile, "password-file", "", "clients have to give the password that is in `FILE`")
		f.IntVar(&o.clients, "max-clients", server.DefaultClients, "serve at most `N` connections")
		f.IntVar(&o.memory, "client-memory", server.DefaultClientMemory>>20, "use at most `MIB` for the buffers of all clients; with what is not collected yet, the process may take three times that")
		f.IntVar(&o.loops, "loops", 0, "serve the clients by `N` threads; each has a shard of the keys, so that commands on keys of different ones are executed side by side. 0 is one for each core but one, which the disk and the network have; with --xdp, where they are not, for every other core, up to 8")
		f.StringVar(&o.medium, "medium", string(disk.Auto), "write through `MEDIUM`: file, fsdax (persistent memory), or auto, which finds out")
		f.IntVar(&o.segment, "segment", engine.DefaultSegment>>20, "make the files of a new store `MIB` long; a value fits into a quarter of one")
		return o.serve
	},
}

var checkCommand = cli.Command{
	Name:  "check",
	Usage: "DIR",
	Short: "verify every record of a store",
	Long: `
Reads the whole log in a folder and verifies the checksum, the place and the number of every record, and whether the checkpoint, if there is
one, says the same; for that it needs as much memory as the server has for its index. It changes nothing. The first thing that is missing or
wrong is named, and the exit status is 1. Values on a device (--devdax) are not in the log: the server verifies them when it opens the store.

  usui kv check /var/lib/kv`,
	Setup: func(*flag.FlagSet) cli.Run {
		return func(_ context.Context, env *cli.Env, args []string) error {
			if len(args) != 1 {
				return cli.UsageError("name one folder, as in: usui kv check /var/lib/kv")
			}
			if _, err := os.Stat(args[0]); err != nil {
				return err
			}
			found, err := check(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, found)
			return err
		}
	},
}

var backupCommand = cli.Command{
	Name:  "backup",
	Usage: "[--from ADDRESS] FOLDER",
	Short: "copy a store while it is served",
	Long: `
Makes a folder with a copy of a store that is being served: all that was acknowledged before, as it was at one moment. Every record of the
copy is verified before the folder gets its name; it can be served as it is.

  usui kv backup /backup/kv                                  of the server at 127.0.0.1:6379
  usui kv backup --from 192.0.2.7:6379 --password-file /etc/kv.password /backup/kv
  usui kv backup --from unix:/run/kv.sock /backup/kv
  usui kv backup --from kv.example.org:6380 --tls --tls-ca ca.crt /backup/kv
  usui kv serve --dir /backup/kv --listen 127.0.0.1:6380     serves the copy

Clients go on reading and writing meanwhile. What compaction would free stays, so that the store grows by what is written; should its disk
be full before the end, the server gives the backup up rather than refuse a write. INFO persistence has backup_held_segments.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o backupOptions
		f.StringVar(&o.from, "from", "127.0.0.1:6379", "the server is at `ADDRESS`, as in HOST:PORT or unix:/run/kv.sock")
		f.StringVar(&o.passwordFile, "password-file", "", "its password is in `FILE`")
		f.BoolVar(&o.tls, "tls", false, "connect by TLS")
		f.StringVar(&o.authorities, "tls-ca", "", "with --tls, those who sign certificates of servers are in `FILE`; without it, those of the system")
		f.StringVar(&o.certificate, "tls-cert", "", "with --tls, show the certificate in `FILE`")
		f.StringVar(&o.key, "tls-key", "", "its key is in `FILE`")
		return o.run
	},
}

func (o *backupOptions) run(ctx context.Context, env *cli.Env, args []string) error {
	switch {
	case len(args) != 1:
		return cli.UsageError("name one folder to make, as in: usui kv backup /backup/kv")
	case o.from == "":
		return cli.UsageError("--from: say where the server is, as in 127.0.0.1:6379 or unix:/run/kv.sock")
	case !o.tls && o.authorities+o.certificate+o.key != "":
		return cli.UsageError("--tls-ca, --tls-cert and --tls-key are for --tls")
	case (o.certificate == "") != (o.key == ""):
		return cli.UsageError("--tls-cert and --tls-key belong together")
	}
	found, err := o.copy(ctx, args[0], progress(env.Stderr))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, found)
	return err
}

type options struct {
	dir, listen, passwordFile, medium string
	metrics                           string
	tls                               TLS
	bypass                            Bypass
	xdpAddress, devdax                string
	xdpPort, xdpMemory                int
	clients, memory, segment, loops   int
}

func (o *options) serve(ctx context.Context, env *cli.Env, args []string) (err error) {
	switch {
	case len(args) > 0:
		return cli.UsageError("%q: serve takes flags only", args[0])
	case o.dir == "":
		return cli.UsageError("say where the store is, as in: --dir /var/lib/kv")
	case o.loops < 0 || o.loops > maxLoops:
		return cli.UsageError("--loops %d: want 0 to %d", o.loops, maxLoops)
	case o.memory > 1<<24:
		return cli.UsageError("--client-memory %d: want at most %d, which is 16 TiB", o.memory, 1<<24)
	case o.clients < 1 || o.memory < 1 || o.segment < 1 || o.segment > engine.MaxSegment>>20:
		return cli.UsageError("--max-clients, --client-memory and --segment are at least 1, --segment at most %d", engine.MaxSegment>>20)
	}
	if err := o.checkNetwork(); err != nil {
		return err
	}
	if o.loops == 0 {
		o.loops = defaultLoops(runtime.NumCPU(), o.bypass.Interface != "")
	}
	medium, err := disk.ParseMedium(o.medium)
	if err != nil {
		return cli.UsageError("--medium: %v", err)
	}
	password, err := readPassword(o.passwordFile)
	if err != nil {
		return err
	}
	if o.devdax != "" {
		if o.bypass.Device, err = disk.OpenDevice(o.devdax); err != nil {
			return fmt.Errorf("--devdax: %w", err)
		}
		defer func() { err = errors.Join(err, o.bypass.Device.Close()) }()
	}
	folder, err := disk.Open(o.dir, engine.IsOurs, medium)
	if err != nil {
		return err
	}
	addProcessors(o.loops)
	where := ""
	if folder.Immediate() {
		where = " in persistent memory"
	}
	s, err := New(Config{
		Listen: o.listen, TLS: o.tls, Bypass: o.bypass, Metrics: o.metrics, Folder: folder, SegmentBytes: o.segment << 20, Password: password, Clients: o.clients, ClientMemory: o.memory << 20, Loops: o.loops,
		Version: version(), Logger: slog.New(slog.NewTextHandler(env.Stderr, nil)), Progress: progress(env.Stderr),
	})
	if network := (*net.OpError)(nil); errors.As(err, &network) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.dir, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	at := s.Address()
	if a := s.SecureAddress(); a != "" {
		at += ", by TLS at " + a
	}
	if a := s.BypassAddress(); a != "" {
		at += ", by AF_XDP at " + a
	}
	if _, err := fmt.Fprintf(env.Stdout, "serving %s%s at %s\n", o.dir, where, at); err != nil {
		return err
	}
	return s.Run(ctx)
}

// defaultLoops is a loop, and so a shard, for each core but one, in which the committer and the kernel's network are at work: with two loops, two cores wrote a sixth less than with one. With a
// bypass they share one lock: more would wait for each other.
func defaultLoops(cores int, bypass bool) int {
	if bypass {
		return min(max(1, cores/2), bypassLoops)
	}
	return min(max(1, cores-1), maxLoops)
}

const (
	maxLoops    = engine.MaxShards
	bypassLoops = 8
)

// addProcessors has Go use a processor for each loop, one for the committer, one for what else runs, and one to be idle. While none is idle, Go's monitor
// looks every 20 microseconds whether one whose thread waits in the kernel can be had: a sixth of all processor time, as measured. A user's GOMAXPROCS stays.
func addProcessors(loops int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+3))
	}
}

// checkNetwork looks at what belongs together.
func (o *options) checkNetwork() error {
	for address := range strings.SplitSeq(o.listen, ",") {
		if err := checkAddress(address); err != nil {
			return cli.UsageError("--listen %q: %v", o.listen, err)
		}
	}
	switch t := o.tls; {
	case t.Listen == "" && t != (TLS{}):
		return cli.UsageError("--tls-cert, --tls-key and --tls-ca are for --tls-listen, as in --tls-listen :6380")
	case t.Listen != "" && (t.Certificate == "" || t.Key == ""):
		return cli.UsageError("--tls-listen wants --tls-cert and --tls-key")
	}
	if o.tls.Listen != "" {
		if err := checkAddress(o.tls.Listen); err != nil {
			return cli.UsageError("--tls-listen %q: %v", o.tls.Listen, err)
		}
	}
	if err := o.checkBypass(); err != nil {
		return err
	}
	if o.metrics != "" {
		if err := scrape.Check(o.metrics); err != nil {
			return cli.UsageError("--metrics-listen %v", err)
		}
	}
	return nil
}

// checkBypass reads what is said of the bypass.
func (o *options) checkBypass() (err error) {
	if o.bypass.Interface == "" {
		if o.xdpAddress != "" {
			return cli.UsageError("--xdp-address is for --xdp, as in --xdp eth0 --xdp-address %s", o.xdpAddress)
		}
		if o.devdax != "" {
			return cli.UsageError("--devdax is for --xdp, as in --xdp eth0 --devdax %s: values stay in the frames in which they come", o.devdax)
		}
		return nil
	}
	if o.xdpPort < 1 || o.xdpPort > 65535 || o.xdpMemory < 16 || o.xdpMemory > 1<<16 {
		return cli.UsageError("--xdp-port is 1 to 65535, --xdp-memory 16 to %d", 1<<16)
	}
	if o.xdpAddress != "" {
		if o.bypass.Address, err = netip.ParseAddr(o.xdpAddress); err != nil || !o.bypass.Address.Is4() {
			return cli.UsageError("--xdp-address %s: want an address of IPv4", o.xdpAddress)
		}
	}
	o.bypass.Port, o.bypass.MemoryBytes = uint16(o.xdpPort), o.xdpMemory<<20
	return nil
}

// readPassword returns the first line of a file.
func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	p, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for i, b := range p {
		if b == '\n' || b == '\r' {
			p = p[:i]
			break
		}
	}
	if len(p) == 0 {
		return "", cli.UsageError("--password-file %s: its first line is empty", path)
	}
	return string(p), nil
}

// progress prints how much of the log was read, for each tenth of a log of a gigabyte or more.
func progress(out io.Writer) func(done, total int64) {
	last := int64(0)
	return func(done, total int64) {
		if tenth := done * 10 / total; total >= 1<<30 && tenth > last {
			last = tenth
			fmt.Fprintf(out, "read %d of %d MiB of the log\n", done>>20, total>>20)
		}
	}
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Version
	}
	return "unknown"
}
