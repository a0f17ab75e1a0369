//go:build race

package netstack

// poolAllocations are what sync.Pool drops under the race detector, in allocations for each frame.
const poolAllocations = 4
