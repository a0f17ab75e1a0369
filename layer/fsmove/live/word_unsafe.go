package live

import (
	"sync/atomic"
	"unsafe"
)

// word is the one at an offset of memory.
//
// SAFETY: the slice has the eight bytes, else indexing panics; memory is mapped at the beginning of a page and at is a multiple of 8, so that the word is aligned. Mappings are never
// given back while their Table is in use.
func word(memory []byte, at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&memory[at : at+8][0]))
}
