// Package attach connects a command in a guest to the streams of its caller.
//
// # Place
//
// The host's counterpart of internal/pid1: the lab uses it over the sockets of QEMU's chardevs, the machine over ports in
// its own process. It knows no virtual machine, only four connections, and never touches the modes of a terminal: who
// calls it with [Command.TTY] has made the own one raw.
//
// # Idea
//
// [Run] waits for the guest's hello, asks for the command, copies three streams, passes signals and window sizes on, and
// returns the command's exit status as soon as all output has been written. The vocabulary is that of
// internal/pid1/wire; the ends of streams travel as byte counts.
//
// # Invariants
//
// The guest is hostile: a message out of bounds, more output than it counted, or an end of a connection where there
// should be none is an error that says so. When Run returns, the connections are closed and so is what waited for them.
// A caller's stream that blocks does not hold Run: see [Run].
//
// # Limits
//
// One command for each guest. The writes of a slow caller set the pace of the guest's command, without any buffer but
// those of ports and pipes.
package attach
