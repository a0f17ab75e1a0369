package kv

import "unsafe"

// offsetIn says where in memory p lies, or false if it does not begin there.
//
// SAFETY: only addresses are compared; nothing is read or kept by them.
func offsetIn(memory, p []byte) (uint64, bool) {
	if len(memory) == 0 || len(p) == 0 {
		return 0, false
	}
	start, at := uintptr(unsafe.Pointer(unsafe.SliceData(memory))), uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return uint64(at - start), at >= start && at-start < uintptr(len(memory))
}
