// Usui puts thin layers between software and what lies under it.
//
// This file is the table of its commands; each has a file of its own here, or a folder below layer/. Package
// cli turns errors into exit statuses.
package main

import (
	"os"

	"usui/internal/cli"
	"usui/layer/bench"
)

const about = `
usui puts thin layers between software and what lies under it: it lets everything
through, steps in only where a function needs it, and gets out of the path when
the work is done.`

// commands is every command of the program, in the order of "usui help". To add a capability, make its folder
// below layer/ and name it here; one with large libraries is a binary of its own and is named in services.
func commands() []cli.Command {
	list := []cli.Command{runCommand, topCommand, plugCommand, unplugCommand, balloonCommand, labCommand, bench.Command, doctorCommand}
	list = append(list, cli.Services("usui", services()...)...)
	return append(list, versionCommand)
}

// services are the capabilities that are programs of their own, usui-NAME beside this one.
func services() []cli.Service {
	return []cli.Service{
		{Name: "fsmove", Short: "move a file server while clients use it"},
		{Name: "kv", Short: "serve a persistent key-value store"},
		{Name: "egress", Short: "stop packets to a victim at their source"},
		{Name: "lsm", Short: "control access in the kernel, changed while it runs"},
		{Name: "blind", Short: "run WebAssembly with blinded constants"},
	}
}

func main() { os.Exit(cli.Main("usui", about, commands())) }
