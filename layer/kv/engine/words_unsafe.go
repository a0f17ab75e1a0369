package engine

import "unsafe"

// wordsOf is p as 64-bit words.
//
// SAFETY: p comes from mmap, so that it is aligned to a page and holds no Go pointers; the result lives no longer than the mapping, because
// both are fields of one table.
func wordsOf(p []byte) []uint64 { return unsafe.Slice((*uint64)(unsafe.Pointer(&p[0])), len(p)/8) }
