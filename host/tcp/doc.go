// Package tcp is a server of TCP over IPv4 on frames that somebody else carries, one event loop and no copies of what is received.
//
// # Place
//
// Stratum host. It knows no device: a [Link] has the frames, host/xdp in production, a simulated network in tests. Sources: RFC 9293 (TCP),
// 5681, 6582 and 6675 (congestion and losses), 6298 (timeout), 7323 (window scale), 2018 (SACK), 5961 (blind attacks), 6528 and 4987
// (initial sequence numbers, floods), 826 (ARP), 792 (echo).
//
// # Idea
//
// [Stack.Receive] takes a frame, [Stack.Advance] the time; what has to be sent is sent by [Stack.Flush], at the end of the caller's turn, so that
// replies to a batch share segments and acknowledgements ride on them. There is no goroutine, no lock and no clock: with the same frames at
// the same times it does the same, but for the numbers that connections start with.
//
// Payload stays in the frame in which it came, also if it came early; the user reads it there. What the user writes is copied once, into the
// frames that it is sent from, and those are kept until they are acknowledged. A short payload is copied behind the one before it, lest a few bytes
// hold a frame.
//
// It only ever answers: who has not sent a frame gets none, so the address to answer to is in the frame, and no neighbours have to be found.
//
// # Invariants
//
//   - Nothing that arrives is believed before it is checked: lengths, checksums, sequence numbers. No input makes it panic, hang or hold more
//     than Config.Frames frames.
//   - A connection with nothing to read may hold one more frame, and one with nothing to send, too, whatever others hold: so none is starved.
//   - A SYN takes at most a fixed table's entry, and above that nothing: then the answer is a cookie.
//   - The window that a peer was told is never taken back. No byte is acknowledged before it is kept.
//   - A reset counts only at the very next sequence number.
//
// # Limits
//
// Passive opens, one address and port; IPv4 without options. No timestamps: round trips are measured by one segment at a time, a connection
// that wraps its sequence numbers within the life of a packet is not protected, and a cookie forgets window scaling and SACK. No ECN, no urgent
// data (it is read as other data), no path MTU discovery: packets may be fragmented on their way, and fragments are not put together. A FIN that
// comes early is asked for again. Resets for segments without a connection are as many as those.
package tcp
