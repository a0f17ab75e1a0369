// Package fsmove moves a file server while its clients go on working: they are switched to the destination first, and what they need is fetched for them.
//
// # Place
//
// A layer that stands on the host and needs no machine. Its parts, each of which imports only those after it: front (the mount), migration (lists and fetches), journal
// (what is not finished), tree (directory trees).
//
// # Idea
//
// On-demand migration of file servers (Matsuzawa, Hayasaka, Shinagawa: ComSys 2017, SYSTOR 2018, ACM TOS 2020). The namespace of a folder comes at the first look into it, the
// content of a file when it is read, and everything else when it is quiet. What is complete is a plain file of the destination, and when everything is, the mount is
// exchanged for the destination itself: no layer is left in the path.
//
// # Invariants
//
// The source is never written. Those of the parts are in their comments.
//
// # Limits
//
// The parts are here, and tested together; no command puts them together yet.
package fsmove
