#include "textflag.h"

// SAFETY: both frames are empty and nothing is called; the caller has checked that dst is as long as src. A fault in a store is a
// panic of the caller like one in any Go code, because no register that the runtime needs is changed.

// func stream(dst, src []byte)
TEXT ·stream(SB), NOSPLIT, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ src_base+24(FP), SI
	MOVQ src_len+32(FP), CX
	SHRQ $3, CX

line: // of 64 bytes, which the processor writes at once when it is full
	CMPQ CX, $8
	JLT  word
	MOVQ 0(SI), AX
	MOVQ 8(SI), BX
	MOVQ 16(SI), DX
	MOVQ 24(SI), R8
	MOVQ 32(SI), R9
	MOVQ 40(SI), R10
	MOVQ 48(SI), R11
	MOVQ 56(SI), R12
	MOVNTIQ AX, 0(DI)
	MOVNTIQ BX, 8(DI)
	MOVNTIQ DX, 16(DI)
	MOVNTIQ R8, 24(DI)
	MOVNTIQ R9, 32(DI)
	MOVNTIQ R10, 40(DI)
	MOVNTIQ R11, 48(DI)
	MOVNTIQ R12, 56(DI)
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $8, CX
	JMP  line

word:
	TESTQ CX, CX
	JEQ   done
	MOVQ  (SI), AX
	MOVNTIQ AX, (DI)
	ADDQ  $8, SI
	ADDQ  $8, DI
	DECQ  CX
	JMP   word

done:
	RET

// func fence()
TEXT ·fence(SB), NOSPLIT, $0-0
	SFENCE
	RET

// func flushLines(p []byte, how flush)
TEXT ·flushLines(SB), NOSPLIT, $0-32
	MOVQ p_base+0(FP), DI
	MOVQ p_len+8(FP), CX
	MOVQ how+24(FP), AX
	ADDQ DI, CX          // the end
	ANDQ $~63, DI        // the first line
	CMPQ AX, $1
	JEQ  unordered
	JGT  ordered

back:
	CMPQ DI, CX
	JAE  flushed
	CLWB (DI)
	ADDQ $64, DI
	JMP  back

unordered:
	CMPQ DI, CX
	JAE  flushed
	CLFLUSHOPT (DI)
	ADDQ $64, DI
	JMP  unordered

ordered:
	CMPQ DI, CX
	JAE  flushed
	CLFLUSH (DI)
	ADDQ $64, DI
	JMP  ordered

flushed:
	RET

// func cpuid(leaf uint32) (a, b uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-16
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	RET
