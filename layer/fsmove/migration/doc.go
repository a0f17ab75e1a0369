// Package migration brings a tree to its destination while others use it there.
//
// # Place
//
// Part of layer/fsmove, on packages tree, journal and pace. Package front is what its users come through.
//
// # Idea
//
// A folder is listed once, before anybody looks into it: then all of its entries are at the destination, with everything but the content of regular files, which
// are holes of the right size. From then on the destination alone owns the names, and to rename, link or remove is to do that at the destination: what is
// still to be fetched is known by the handle of its inode ([journal.File]), whatever its name is by then.
//
// A folder with hundreds of entries is listed next, and before that what a client looks up in it comes alone ([Migration.Look]). Whoever changes one of its names, or asks for all, has it listed
// before: so a name that the journal has of it is there, and is what clients have made of it.
//
// Which parts of a file have been fetched, or written by a client, is what its holes say (SEEK_HOLE in lseek(2)). That is as durable as the data itself: a file system
// that orders data before its map (ext4 as it is mounted by default, xfs; not btrfs) has after a power cut the data or the hole, and a hole is fetched again. So neither a
// bitmap nor an order of two syncs is needed, and a process that is killed has forgotten nothing.
//
// A file system may tell of room that was reserved, or that a failed write took, as data: so nobody reserves any in a file with holes, and what a failed write took is made a hole again. One that
// reserves some by itself around what is written (xfs, for folders with an extent size hint) is refused.
//
// A source is never written, and nobody else may write it: what has changed since it was listed is an error, and never mixed with what was fetched before.
//
// A source may go away as a whole, as a server does: a call ends with an error of those that file servers give, and its root does not answer either. Then it is looked for by its path, and known
// by what its root was; who needs it waits. A call that does not return at all can be left by who made it. What is wrong with one entry is that entry's error, or, if it is the destination that
// refuses it or one of its attributes, is left out and remembered ([Migration.Skipped]).
//
// What Run does beside clients asks package pace before each piece of at most 256 KiB, and holds no lock between two: a client waits for one piece at most, and for no sync of
// content. Before each piece comes what clients are at: first the rest of files that they use in part, then subfolders of where they looked.
//
// # Invariants
//
//   - What has no record is whole. A record goes only after the content is durable.
//   - A hole is filled, and never data: what a client wrote is not fetched over.
//   - What was cut off is never fetched again ([journal.File.Limit]), also when a crash came in the middle of the cut.
//   - Filling a file does not change its times.
//   - Names that a listing made are durable before its folder counts as listed. One that a crash cut short is begun again: nobody has seen it, but for entries that the journal has.
//   - An inode with several names at the source has them at the destination, whatever was done to the first before the last was listed. No inode has the name of another.
//   - What is left out is in the journal before anybody can miss it.
//   - Nobody waits for a source that is away with a lock that others need.
//
// # Locks
//
// gate comes before all others, and is held exclusively only by Finish. A File's io is taken before its mu, that before the Migration's, and linking before all of them. Folders are listed one at a
// time for each handle. A source's mu is taken last.
//
// # Limits
//
// The destination needs handles and tells of holes ([New] tries both). A source that is itself several file systems is followed across their mounts; if one
// of them alone is away, what is in it is an error, and is not waited for. An error of one file, such as a disk's, is the client's after a minute, while the root answers; until then it is tried again. A file whose call to the source hangs waits
// as a whole until Config.Timeout, or its client's interrupt; each such call holds a thread, 64 at most. A file system that numbers its root's inode or its times anew with each mount, and has no
// number of its own, is not known again. One that invents numbers of inodes (sshfs, SMB without the server's) has a file that changes behind the move known by its size and times alone. What a listing leaves out stays out, if the cause goes later, too.
package migration
