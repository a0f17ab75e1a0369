// Package compare finds out whether a destination has all that a source has.
//
// # Place
//
// Part of layer/fsmove, on package tree; its command asks package migration which names are that one's own.
//
// # Idea
//
// For each entry of the source the destination is looked at under the same name: metadata, extended attributes and, byte by byte, content. Clients may have changed the destination
// since, and go on: what tells their work from damage is the time of modification. A move gives each file, link, device and folder that of the source, and whatever a client does to content
// or to names gives it another. So what differs is
//
//   - changed, if it has another time: nobody can say what it should be, and content is not read;
//   - gone, if it is not there and its folder has another time;
//   - damaged, if content differs although the time does not say so, or if length, target, number or name do and neither its time nor that of its folder says so: who gives a
//     name to something else that has the same time changes the folder;
//   - other metadata, if only mode, owner, attributes or links differ: a client may have set them, which only the time of change tells, and that cannot be moved.
//
// What the destination has beside that is new, and is not looked into.
//
// The destination is read from its disk: what the kernel has not written is synced, and what it has cached is dropped before. Where both sides have a hole nothing is read.
//
// # Invariants
//
//   - Neither tree is written.
//   - What a client changes while it is compared is changed, and not damaged; what changes at the source meanwhile is told.
//   - Counts are of everything, also where lists are cut short.
//
// # Limits
//
// A client that sets a time of modification back to what it was hides what it did: its work counts as damage, and so does what has the time and the length of what it took the name of. What somebody has mapped into memory is read from the cache. Memory is taken for the names of
// a few folders, for folders that are to be compared, and for inodes with several names. Times of access, of change and of birth are not compared.
package compare
