// Package control is how a move that is running is asked how it is, and told what to do.
//
// # Place
//
// Part of layer/fsmove. The move serves ([Serve]); its commands status, pause, finish and abort ask ([Find]).
//
// # Idea
//
// HTTP with JSON over a Unix socket of its own for each move, in a folder that only root may enter (/run/usui-fsmove, or what USUI_FSMOVE_RUN says). A move is called by any of its
// three directories, as its user remembers them: each that runs is asked for its own.
//
// # Invariants
//
//   - The socket is there as long as the move can be told something; one of a process that was killed is replaced.
//   - What a client sends is a path and a few bytes, bounded as in package scrape.
//
// # Limits
//
// Root of this machine, on a file system where sockets can be made. For figures over time there are metrics.
package control
