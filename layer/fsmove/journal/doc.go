// Package journal remembers, over crashes, what a migration has not finished.
//
// # Place
//
// Part of layer/fsmove, on package tree. The only user of Pebble.
//
// # Idea
//
// What has a record is not finished; what has none is an ordinary file of the destination, made by the migration long ago or by a client just now. So the journal
// shrinks to nothing, and what clients make and remove leaves no trace in it: records go by the handle of the inode, which no later inode has.
//
// Which parts of a file have been fetched is not here: the file itself tells by its holes.
//
// Beside it are files that keep room back, for Pebble ends the process when it cannot write. On a full disk they are given up one by one, then a change waits; they are made again when there is room.
//
// # Invariants
//
//   - A change that [Journal.Apply] was given is there as a whole or not at all.
//   - When Apply has returned it outlives the end of the process, and of the machine if it was to be durable.
//   - A record that does not check is an error, never another record.
//
// # Limits
//
// A change that waits for room cannot be interrupted, and Open and Close wait likewise. A disk that has no room for what was written, and says so only when that is synced, ends the process; ext4 and xfs do
// not. One process at a time. A record of a file is some 100 bytes and its path.
package journal
