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

// writeBack has the lines of the caches that p touches written to memory; a [fence] waits until they are. What another wrote there, a card or a
// processor, is in these lines or in memory already, for caches are coherent.
func writeBack(p []byte) {
	if len(p) > 0 {
		flushLines(p, flushes)
	}
}

// flush is an instruction that writes a line back.
type flush int

// The instructions, from the best: the line stays in the cache, or it is not in order with others, or it is.
const (
	clwb flush = iota
	clflushopt
	clflush
)

// flushes is the best that this processor has (CPUID leaf 7: EBX bits 24 and 23).
var flushes = func() flush {
	highest, _ := cpuid(0)
	if highest < 7 {
		return clflush
	}
	switch _, b := cpuid(7); {
	case b&(1<<24) != 0:
		return clwb
	case b&(1<<23) != 0:
		return clflushopt
	}
	return clflush
}()

//go:noescape
func flushLines(p []byte, how flush)

// cpuid returns EAX and EBX of a leaf.
func cpuid(leaf uint32) (a, b uint32)
