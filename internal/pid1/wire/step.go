package wire

import "strconv"

// Step is one thing to be done to the guest before the command starts. Use the functions below to make one.
type Step struct {
	Do      Action `json:"do"`
	Type    string `json:"type,omitempty"`
	Source  string `json:"source,omitempty"`
	Target  string `json:"target,omitempty"`
	Options string `json:"options,omitempty"`
	Text    string `json:"text,omitempty"`
}

// Action is the kind of a [Step].
type Action string

// The kinds of steps, each with a function that makes one.
const (
	DoMount     Action = "mount"
	DoBind      Action = "bind"
	DoModule    Action = "module"
	DoWait      Action = "wait"
	DoWrite     Action = "write"
	DoRoot      Action = "root"
	DoHold      Action = "hold-kvm"
	DoHeartbeat Action = "heartbeat"
	DoNet       Action = "net"
)

// Mount mounts source, of the given type, at target. Options are those of mount(8), separated by commas. Directories
// that are missing on the way to target are made.
func Mount(fstype, source, target, options string) Step {
	return Step{Do: DoMount, Type: fstype, Source: source, Target: target, Options: options}
}

// Bind makes source, a directory with all that is mounted below it, a file or a device node, also visible at target,
// even where the file system of target is read-only. A target that is missing is made if its file system allows it.
func Bind(source, target string) Step {
	return Step{Do: DoBind, Source: source, Target: target}
}

// Module loads the kernel module in the file path. What it depends on must be loaded before it. A module that is
// compressed (.xz, .zst, .gz) is unpacked by the kernel, if that can (CONFIG_MODULE_DECOMPRESS). One that is loaded
// already is no error.
func Module(path, params string) Step {
	return Step{Do: DoModule, Source: path, Options: params}
}

// Wait waits until path exists, for 30 seconds at most. It is meant for device nodes and what is below /sys.
func Wait(path string) Step {
	return Step{Do: DoWait, Target: path}
}

// Write writes text to an existing file, such as one below /proc/sys or /sys/bus, or makes a new one.
func Write(path, text string) Step {
	return Step{Do: DoWrite, Target: path, Text: text}
}

// Root makes dir, where a file system must be mounted, the root of the guest. /dev, /proc, /sys, /run and /tmp of the
// initramfs (with what is mounted below them) move into it; dir must have directories of these names.
func Root(dir string) Step {
	return Step{Do: DoRoot, Target: dir}
}

// HoldKVM keeps two idle virtual machines open for the guest's life, if it has a /dev/kvm: see internal/pid1's hold.go.
func HoldKVM() Step { return Step{Do: DoHold} }

// Heartbeat has the CPUs that are online wake each other for the guest's life: see internal/pid1's heartbeat.go.
func Heartbeat() Step { return Step{Do: DoHeartbeat} }

// Net gives the network card with that hardware address, as /sys/class/net/*/address has it, an IPv4 address like 10.0.2.15/24, sets it up
// and makes gateway, unless it is empty, the way to everywhere else. A card that is not there yet is waited for, for 30 seconds at most.
func Net(card, address, gateway string) Step {
	return Step{Do: DoNet, Source: card, Target: address, Options: gateway}
}

// String describes the step for messages: mount 9p "host" at "/newroot".
func (s Step) String() string {
	q := strconv.Quote
	switch s.Do {
	case DoMount:
		return "mount " + s.Type + " " + q(s.Source) + " at " + q(s.Target)
	case DoBind:
		return "bind " + q(s.Source) + " to " + q(s.Target)
	case DoModule:
		return "load module " + q(s.Source)
	case DoWait:
		return "wait for " + q(s.Target)
	case DoWrite:
		return "write " + q(s.Target)
	case DoRoot:
		return "make " + q(s.Target) + " the root"
	case DoHold:
		return "hold /dev/kvm"
	case DoHeartbeat:
		return "have the CPUs wake each other"
	case DoNet:
		return "give card " + q(s.Source) + " address " + q(s.Target) + " with gateway " + q(s.Options)
	}
	return "do " + q(string(s.Do))
}
