// Package pid1 is the first process of usui's guests: it makes a bare kernel a place where one command can run, runs that
// command for the host, and ends the machine.
//
// # Place
//
// The program usui-init is [Main] alone. The lab (the host's file system as root over 9p) and the default guest (an
// initramfs with busybox) use the same binary: what differs is in the steps of the run request. The host's side is
// internal/attach, the words both use are internal/pid1/wire.
//
// # Idea
//
// The life of a guest, in order:
//
//  1. [Marker] goes to /dev/console, before anything that could go wrong. With usui.marker-only on the kernel command line
//     the machine ends here.
//  2. The usual file systems are mounted, the modules in /lib/usui/modules and those of the PCI devices that are there loaded (those
//     of devices that come later when they come), the loopback interface raised.
//  3. The virtio-serial ports usui.control, usui.stdin, usui.stdout and usui.stderr are opened; hello is sent.
//  4. The run request comes. Its steps (mount, bind, module, wait, write, root) are done, the command starts.
//  5. The command ends. Its pipes are drained; what it left running is stopped; file systems are unmounted and synced; exit
//     is sent.
//  6. The host has read all output and says poweroff, or closes the control port.
//
// [Serve] is 3 to 6 without the parts that only a first process may do; those are handed to it in a [Config], so that
// tests run it as an ordinary process.
//
// Busybox's poweroff and halt (SIGUSR2, SIGUSR1 to the first process) end the guest from inside in the same orderly way;
// its reboot (SIGTERM) and Ctrl-Alt-Del reset the machine.
//
// A command may leave processes behind that hold its output open. ssh waits for them for ever, docker kills them at
// once. Here they have two seconds, enough for the end of a pipeline such as "cmd > >(tee log)", then they are stopped
// (SIGTERM, five seconds, SIGKILL), and all that they have written until then still reaches the host.
//
// # Invariants
//
//   - No byte that a process wrote is lost while the host reads: the guest lives until the host says that it has all.
//   - exit is sent after the last process ended and the file systems are at rest; the host may then end the machine.
//   - Control messages are served whatever the streams do: each stream has its goroutine, and none waits for another.
//   - Processes are started and reaped by one goroutine, which also sends signals: no signal can reach a reused process id.
//   - A panic is printed on the console and powers the machine off; the kernel never sees its first process die.
//
// # Limits
//
// One command for each boot. A fatal error of the Go runtime itself (not a panic) still ends in a kernel panic, with the
// trace on the console before it. The initramfs must hold /dev/console or /dev/null, else the Go runtime cannot start;
// the initramfs that kernels have built in does. Modules are loaded in the order given; there is no modprobe.
package pid1
