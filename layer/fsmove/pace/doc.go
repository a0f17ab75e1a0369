// Package pace keeps work in the background from slowing down those who wait for something.
//
// # Place
//
// Part of layer/fsmove; pure Go, and it knows nothing of a migration. Whoever works in the background asks [Pacer.Wait] before each small piece, and whoever serves clients tells of each of their
// requests by [Pacer.Begin].
//
// # Idea
//
// While no client asks for anything the background has full speed. When the first clients come and stay for a second it is held for a moment: what their requests take then is
// the baseline. After that it goes on at a quarter of full speed, and at a rate that follows what clients notice, as TCP's follows losses (AIMD): if the 95th percentile of a second's requests is more than 1.2 times the baseline
// the rate is halved, else it rises by a twentieth of the fastest that was seen. The baseline is measured again from time to time, and the largest of the
// last three counts: a moment that was quicker than most slows nothing down.
//
// Requests that wait for what the background itself fetches are told apart, for they take what the source takes. A second in which there were only
// such changes nothing: there is no evidence.
//
// # Invariants
//
//   - A client's request never waits here.
//   - The rate is at least a fiftieth of the fastest that was seen, however slow clients are, so that the work ends.
//   - No more than the cap and one piece of each worker goes on in a second.
//
// # Limits
//
// What clients do without telling is not seen, such as reading what the kernel reads for them. A piece that has begun is not stopped: it is up to 256 KiB.
// A small piece counts as 16 KiB, for the work that it is beside its bytes.
package pace
