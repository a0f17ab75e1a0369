package kv

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"usui/internal/cli"
	"usui/layer/kv/disk"
	"usui/layer/kv/engine"
	"usui/layer/kv/server"
)

// Commands are those of the program usui-kv.
func Commands() []cli.Command { return []cli.Command{serveCommand, checkCommand} }

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

On a full disk writes are refused with MISCONF and what to do; reads and deletions go on, and writes again when there is room. After an
error of the disk nothing more is written: restart, and what was acknowledged is there. SIGINT and SIGTERM end the server in order.`,
	Setup: func(f *flag.FlagSet) cli.Run {
		var o options
		f.StringVar(&o.dir, "dir", "", "keep the store in `DIR`")
		f.StringVar(&o.listen, "listen", "127.0.0.1:6379", "listen at `ADDRESS`, as in :6379")
		f.StringVar(&o.passwordFile, "password-file", "", "clients have to give the password that is in `FILE`")
		f.IntVar(&o.clients, "max-clients", server.DefaultClients, "serve at most `N` connections")
		f.IntVar(&o.memory, "client-memory", server.DefaultClientMemory>>20, "use at most `MIB` for the buffers of all clients")
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
wrong is named, and the exit status is 1.

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

type options struct {
	dir, listen, passwordFile string
	clients, memory, segment  int
}

func (o *options) serve(ctx context.Context, env *cli.Env, args []string) (err error) {
	switch {
	case len(args) > 0:
		return cli.UsageError("%q: serve takes flags only", args[0])
	case o.dir == "":
		return cli.UsageError("say where the store is, as in: --dir /var/lib/kv")
	case o.clients < 1 || o.memory < 1 || o.segment < 1 || o.segment > engine.MaxSegment>>20:
		return cli.UsageError("--max-clients, --client-memory and --segment are at least 1, --segment at most %d", engine.MaxSegment>>20)
	}
	password, err := readPassword(o.passwordFile)
	if err != nil {
		return err
	}
	folder, err := disk.Open(o.dir, engine.IsOurs)
	if err != nil {
		return err
	}
	s, err := New(Config{
		Listen: o.listen, Folder: folder, SegmentBytes: o.segment << 20, Password: password, Clients: o.clients, ClientMemory: o.memory << 20,
		Version: version(), Logger: slog.New(slog.NewTextHandler(env.Stderr, nil)), Progress: progress(env.Stderr),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", o.dir, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := fmt.Fprintf(env.Stdout, "serving %s at %s\n", o.dir, s.Address()); err != nil {
		return err
	}
	return s.Run(ctx)
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
