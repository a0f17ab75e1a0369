package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"

	"usui/internal/cli"
)

var versionCommand = cli.Command{
	Name:  "version",
	Short: "print which usui this is",
	Long:  `Prints the version and the commit that this program was built from, the Go version and the architecture.`,
	Setup: func(*flag.FlagSet) cli.Run {
		return func(_ context.Context, env *cli.Env, args []string) error {
			if len(args) > 0 {
				return cli.UsageError("unexpected argument %q", args[0])
			}
			_, err := fmt.Fprintf(env.Stdout, "usui %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
	},
}

// buildVersion is what the go command recorded: a version, which names the commit, or "(devel)" if it was built
// without asking git.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
