package disk

// canStream says that this processor has the instructions: all of this architecture have (SSE2).
const canStream = true

// stream copies words of 8 bytes past the caches (MOVNTI): what a [fence] then orders has left for memory, and no line has to be flushed.
//
//go:noescape
func stream(dst, src []byte)

// fence waits until all that was streamed has been taken by the memory controller, from where a power cut does not take it back
// (SFENCE; "ADR" in the ACPI and NVDIMM documents). It is for what this processor stored. A goroutine that moves to another one between
// stream and fence passes locked instructions there, or the kernel, both of which empty the same buffers (Intel SDM, volume 3, "Write
// Combining"; AMD APM, volume 2, "Write-Combining Buffers").
func fence()
