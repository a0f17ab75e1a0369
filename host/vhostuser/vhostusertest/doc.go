// Package vhostusertest is a back end of the vhost-user protocol for tests: polite, slow, lying, or dead.
//
// # Place
//
// Imported by the tests of host/vhostuser and of the device model above it. It runs in the test's process, at the other end of a pair of
// sockets.
//
// # Idea
//
// [Backend] speaks the protocol and keeps what it is given; it serves no ring. A test that wants one served is called when a ring is handed
// over and taken back. Mistakes are functions that change a reply on its way out.
//
// # Invariants
//
// It judges the front end as a strict back end would: a message that is out of place fails the test. It closes all descriptors that it got.
//
// # Limits
//
// It knows the messages that host/vhostuser sends, and no others.
package vhostusertest
