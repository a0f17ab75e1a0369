// Package fsmove moves a file server while its clients go on working: they are switched to the destination first, and what they need is fetched for them.
//
// # Place
//
// A layer that stands on the host and needs no machine. It is a program of its own, usui-fsmove. Its parts, each of which imports only those after it: fsmove (the command), front (the mount), migration (lists and fetches), pace (gives way to clients), journal
// (what is not finished), tree (directory trees). Beside them are survey (what a move will meet), compare (whether everything has arrived), control (how a move is asked and told), keeper and live (what a process that is killed must not lose).
//
// # Idea
//
// On-demand migration of file servers (Matsuzawa, Hayasaka, Shinagawa: ComSys 2017, SYSTOR 2018, ACM TOS 2020). The namespace of a folder comes at the first look into it, the
// content of a file when it is read, and everything else when it is quiet. What is complete is a plain file of the destination, and when everything is, the mount is
// exchanged for the destination itself: no layer is left in the path.
//
// Two processes do it. The worker does everything; the keeper holds the connection to the kernel, and starts another worker when that one is killed. A table in memory says what the kernel
// knows, the journal what is not finished, and the holes of the destination's files what was fetched: so clients wait for a moment, and notice nothing else.
//
// # Invariants
//
// The source is never written. Those of the parts are in their comments.
//
// # Limits
//
// A client that has a file open when the mount is exchanged keeps the old way to it, with the kernel's cache of that: what others write to the file by the new one
// it may not see. So it is with a file server that keeps what it exports open (knfsd, nfs-ganesha): it goes on with the old mount, and the processes of the move with it, until it is started anew; its clients'
// file handles are those of the mount, and are stale from then on. Clients outlive the end of one process, and not that of both or of the machine: then they have to open their files again. Before Linux 6.9 they do not outlive that of one. What cannot be moved keeps
// the mount where it is: clients go on. What clients read by the kernel itself, of files that pass, does not slow down what is fetched beside them.
package fsmove
