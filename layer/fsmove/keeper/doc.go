// Package keeper holds what a server of FUSE must not lose when its process ends, and starts another one.
//
// # Place
//
// Part of layer/fsmove, on package live. The command runs [Run]; the process that Run starts calls [Inherit].
//
// # Idea
//
// The kernel ends a connection of FUSE with the last descriptor of its device. So two processes have it: a worker that answers, and a keeper that does nothing, and so has
// nothing to fail at. When the worker is killed or panics, clients wait; the keeper starts another one, which finds in the table ([live.Table]) what the kernel had been told, and asks it to send again
// what nobody has answered.
//
// An open file without a name would go with the worker's descriptor. The keeper gets a copy of that before the last name goes.
//
// # Invariants
//
//   - The keeper reads neither the device nor any byte of a client.
//   - A worker that ends by itself, with whatever status, is not started again.
//   - A copy that was sent is held from then on, also if the keeper has not read of it yet: it is in the socket.
//
// # Limits
//
// Workers that end one after the other without having answered anything are given up, and clients are cut off. A keeper that is killed leaves a worker that goes on, and that nobody starts again. Linux.
package keeper
