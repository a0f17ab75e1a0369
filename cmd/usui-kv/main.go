// Usui-kv is a persistent key-value store for clients of Redis; "usui kv" starts it. Package kv tells what it does.
package main

import (
	"os"

	"usui/internal/cli"
	"usui/layer/kv"
)

const about = "usui kv keeps keys and values for clients of Redis, durable at every acknowledged write."

func main() { os.Exit(cli.Main("usui kv", about, kv.Commands())) }
