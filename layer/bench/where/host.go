package where

import "context"

// Host is what an environment is read of.
type Host struct {
	// Root is put before the paths of files in /proc and /sys; "" is this host itself.
	Root string

	// Software says that a measurement found that this KVM interprets privileged code, whatever its module
	// is called.
	Software bool
}

// Read reads the environment of this host; see [Host.Read].
func Read(ctx context.Context) (Environment, error) { return Host{}.Read(ctx) }

// Read reads the environment. Steal stays 0: see [Host.Times] and [StealBetween]. It fails if there is no
// /proc/cpuinfo, or with the cause of ctx.
func (h Host) Read(ctx context.Context) (Environment, error) {
	return Environment{}, context.Cause(ctx)
}
