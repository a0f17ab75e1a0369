// Package survey looks at a source before it is moved, and says what a move will meet.
//
// # Place
//
// Part of layer/fsmove, on package tree; it asks package migration which names are that one's own. Its command is "usui fsmove plan".
//
// # Idea
//
// One walk by several workers, which looks at each entry's metadata, at the names of its attributes and at its own name. What is found has one of three classes: it cannot be moved, it will differ at
// the destination, or it is good to know. What a destination holds is tried in a temporary folder there, and not guessed from the kind of its file system.
//
// Names that become one where case or the form of Unicode does not count are looked for in each folder by itself, which is all that matters, so that memory is for one folder for each worker.
//
// # Invariants
//
//   - The source is never written, times of access neither.
//   - The destination is only written if it is empty or has a move's own folder, and what was made there is removed.
//   - Counts are of everything, also where lists are cut short.
//
// # Limits
//
// Content is read of a sample only: a disk's bad sectors are found by the move. How long a move takes is estimated from what was measured of the source in these minutes; neither writing nor clients
// are in that. Memory is also taken for folders that are still to be walked, and for inodes with several names until all of these were met.
package survey
