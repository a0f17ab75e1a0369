// Package xdptest has a cable between two networks, for tests of what speaks by it.
//
// # Place
//
// For tests of host/xdp, host/tcp and of what stands on them.
//
// # Idea
//
// A network namespace belongs to a thread; a goroutine that is locked to one makes what has to be in the namespace: sockets and
// processes keep it when others use them.
//
// # Invariants
//
// What it made is gone with the test.
//
// # Limits
//
// One pair of interfaces. Who needs more makes them by ip(8).
package xdptest
