// Package virtiofsd starts virtiofsd, the program that serves a folder of this host to a guest, and sees to its end.
//
// # Place
//
// Stratum host. It makes the connection that machine/virtio/fs works with; cmd/usui calls it for "usui run --share".
//
// # Idea
//
// There are two programs of that name: the one in C that came with QEMU until 7.2 (Debian 12), and the one in Rust that followed. Both want
// a listening socket as an inherited descriptor. It is bound in a folder that only this user can enter, connected, and removed from there
// before the program starts, so nobody else can be the first to connect and nothing is left behind.
//
// The program confines itself to the folder before it takes a request: as root with a mount namespace of its own, or by chroot where
// namespaces are forbidden. The one in Rust also runs without root. A read-only folder is one that the program itself cannot write: for
// root the program gets a mount namespace in which all is read-only, else an option of the one in Rust.
//
// # Invariants
//
//   - The program and what it starts end with [Server.Close], and when this process dies, however it does: the kernel kills the program
//     when the thread that started it is gone, and its child, which serves, ends with its connection.
//   - When End or Close has returned, no process of the server has a mapping of guest memory, but for one that the kernel cannot kill.
//   - What the program says is kept to some lines.
//
// # Limits
//
// A process that waits for a dead network file system cannot be killed; End and Close leave it after five seconds. Read-only folders for
// root need Linux 5.12. Owners of files are the host's own numbers: root in the guest is root in a writable folder that root shares.
package virtiofsd
