//go:build !race

package netstack

const poolAllocations = 0
