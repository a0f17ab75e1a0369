// Usui-blind runs, rewrites and scans programs whose constants must not become gadgets. "usui blind" starts it; package blind tells the idea.
package main

import (
	"os"

	"usui/internal/cli"
	"usui/layer/blind"
	"usui/layer/blind/scan"
)

const about = `
usui blind keeps the constants of a WebAssembly program from becoming gadgets in the machine code
that it is compiled to: those that look like a control-flow instruction are xored with a random key.`

func main() {
	os.Exit(cli.Main("usui blind", about, []cli.Command{blind.RunCommand, blind.RewriteCommand, scan.Command}))
}
