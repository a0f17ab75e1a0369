package vhost

import "unsafe"

// addressOf is where a mapping lies. SAFETY: only the number leaves.
func addressOf(mem []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(mem))) }
