package guestmem

import "unsafe"

// hostAddr is the address of a mapping, as KVM_SET_USER_MEMORY_REGION wants it.
//
// SAFETY: only the number leaves; it is never turned back into a pointer. b comes from mmap, so no garbage collector
// moves or frees it.
func hostAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
