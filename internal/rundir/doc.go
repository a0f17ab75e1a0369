// Package rundir is where running machines are found: one Unix socket each, in a folder of the user's.
//
// # Place
//
// Stratum internal. "usui run" listens here, and what asks about running machines or changes them connects.
//
// # Idea
//
// A machine is a process, so there is no daemon that knows them all: a folder does. It is usui in XDG_RUNTIME_DIR, else in /run for root and
// in the temporary folder for others. Each machine has NAME.sock in it, on which it speaks HTTP.
//
// # Invariants
//
//   - The folder belongs to the user and nobody else may enter it (0700); one that does not is refused, as another user may have made it.
//   - A name has one machine at a time: sockets are made under a lock of the folder. The socket of a machine that was killed answers nobody
//     and is replaced.
//   - Close of a listener removes its socket and no other.
//
// # Limits
//
// The path of a socket has at most 107 bytes (unix(7)); a longer one is refused by the name of the folder.
package rundir
