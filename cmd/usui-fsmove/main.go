// Usui-fsmove moves a file server while its clients use it; "usui fsmove" starts it. Package fsmove tells what it does.
package main

import (
	"os"

	"usui/internal/cli"
	"usui/layer/fsmove"
)

const about = "usui fsmove moves a file server while its clients go on working."

func main() { os.Exit(cli.Main("usui fsmove", about, fsmove.Commands())) }
