// Package front is the mount that clients of a tree use while it is on its way: a FUSE file system over the destination.
//
// # Place
//
// Part of layer/fsmove, on packages migration and tree. The only user of go-fuse.
//
// # Idea
//
// Every operation is done at the destination, on descriptors and never by joined paths. Before that, what it needs is brought there: a folder is listed when
// somebody looks into it, a file is fetched where somebody reads. What is complete passes through untouched.
//
// A node's number is the number of the inode at the destination, which is what clients will see when this layer has gone. The inode itself is found by its
// [tree.Handle], so that no descriptor is held for what is merely known to the kernel, and none is needed after a restart.
//
// The number is in the file handles, too, that a file server of the mount gives to its clients, with a generation made of the inode's handle. When the kernel has forgotten the node of one, it looks up
// "." of that number (FUSE_EXPORT_SUPPORT): ext4 and xfs say which generation a number has now ([tree.Root.Find]), so that nothing has to be kept, and no process or machine can lose it.
//
// A file that is complete is read, written and mapped by the kernel itself (FUSE_PASSTHROUGH, Linux 6.9), if it was when the first of its handles was opened: all handles of an inode
// go one way. Not so one with set-user-ID or capabilities, which a write takes away. One that gets them while the kernel writes it loses them all the same: the kernel tells of that write.
//
// go-fuse speaks the protocol (ProtocolServer); the device is read here, because a successor has to go on with a connection that another process began: the nodes that the kernel knows, and what it has
// open, are in the seat's table (package keeper), and the kernel sends again what nobody has answered (FUSE_NOTIFY_RESEND, Linux 6.9).
//
// # Invariants
//
//   - The migration's own folder is not seen.
//   - Permissions are the kernel's business (default_permissions), and what is made belongs to who made it.
//   - A hole that is not fetched yet is never told as a hole.
//
// # Locks
//
// mu guards the tables of nodes and of open files, and is never held over a system call.
//
// # Limits
//
// Locks of files are the kernel's own of this mount (flock(2), fcntl(2)). A file with several names at the source has one more until all of them are listed. The time of
// birth is not told. A file that somebody holds open from before it was complete is carried until all of its handles are closed. Set-group-ID of a file that its group cannot execute is kept by a write of who is not in the group. Root's chown(2) to nobody takes no rights away. A write by a mapping takes capabilities away. File handles outlive what the kernel
// knows on ext4 and xfs; on others they are stale then. Who makes them up, and guesses a generation of 32 bits, is led to any inode of the destination's file system, as by an export of a part of one
// (no_subtree_check in exports(5)). One name at the top, .go-fuse-epoll-hack, is go-fuse's own. A process that serves a mount must not use it by package os before the kernel knows that
// its files cannot be polled. Linux, as root.
package front
