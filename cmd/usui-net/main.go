// Usui-net is the network behind a card with user networking: "usui run --net user" starts it, with the card's sockets from descriptor 3
// on. Package netstack tells what it does. It ends when the machine does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"usui/host/netstack"
	"usui/host/usernet"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", usernet.Name, err)
		os.Exit(1)
	}
}

func run() error {
	cfg := usernet.Default()
	flags := flag.NewFlagSet(usernet.Name, flag.ExitOnError)
	queues := flags.Int("queues", 0, "`number` of sockets, from descriptor 3 on")
	cfg.Flags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *queues < 1 || *queues > 256 || flags.NArg() > 0 {
		return errors.New("the network of a machine that \"usui run --net user\" starts; it does nothing by itself")
	}
	frames, err := inherited(*queues)
	if err != nil {
		return err
	}
	n, err := netstack.New(netstack.Config{Config: cfg, Frames: frames})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := confine(netstack.Descriptors(cfg, *queues)); err != nil {
		return err
	}
	if _, err := fmt.Print(usernet.Ready(n.Ports())); err != nil {
		return err
	}
	return n.Run(context.Background())
}
