// Usui-init is the first process of usui's guests; package pid1 tells what it does.
package main

import (
	"fmt"
	"os"

	"usui/internal/pid1"
)

func main() {
	if err := pid1.Main(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
