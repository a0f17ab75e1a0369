package x86

// What follows an opcode. There is one letter for each of the 256 opcodes of a map.
const (
	unknown = '?' // undefined in 64-bit mode, or a prefix, which is handled before
	nothing = '.'
	modRM   = 'M'
	control = 'C' // ModRM that names registers whatever its mod field says

	imm8       = 'b'
	imm16      = 'w'
	imm32      = 'z' // 16 bits with an operand-size prefix
	imm64      = 'v' // 64 bits with REX.W, else likewise
	imm16imm8  = 'e'
	address    = 'o' // 64 bits, 32 with an address-size prefix
	rel8       = 'j'
	rel32      = 'J'
	modRMimm8  = 'B'
	modRMimm32 = 'Z'

	testImm8  = 'f' // ModRM, and imm8 if its reg field is 0 or 1 (TEST)
	testImm32 = 'F' // likewise imm32
	extrq     = 'E' // ModRM, and two imm8 with a prefix 66 or f2
)

// oneByte is the map of opcodes of one byte.
const oneByte = "" +
	"MMMMbz??MMMMbz??" + // 00 ADD, OR; 0f is the escape
	"MMMMbz??MMMMbz??" + // 10 ADC, SBB
	"MMMMbz??MMMMbz??" + // 20 AND, SUB
	"MMMMbz??MMMMbz??" + // 30 XOR, CMP
	"????????????????" + // 40 REX
	"................" + // 50 PUSH, POP
	"???M????zZbB...." + // 60 MOVSXD, PUSH, IMUL, INS, OUTS; 62 is EVEX
	"jjjjjjjjjjjjjjjj" + // 70 Jcc
	"BZ?BMMMMMMMMMMMM" + // 80 group 1, TEST, XCHG, MOV, LEA, POP
	"..........?....." + // 90 XCHG, CBW, CWD, FWAIT, PUSHF, POPF, SAHF, LAHF
	"oooo....bz......" + // a0 MOV, MOVS, CMPS, TEST, STOS, LODS, SCAS
	"bbbbbbbbvvvvvvvv" + // b0 MOV
	"BBw.??BZe.w..b?." + // c0 group 2, RET, MOV, ENTER, LEAVE, RETF, INT, IRET; c4 and c5 are VEX
	"MMMM???.MMMMMMMM" + // d0 group 2, XLAT, x87
	"jjjjbbbbJJ?j...." + // e0 LOOP, JRCXZ, IN, OUT, CALL, JMP
	"?.??..fF......MM" //   f0 INT1, HLT, CMC, group 3, CLC to STD, groups 4 and 5

// twoByte is the map of opcodes behind 0f.
const twoByte = "" +
	"MMMM?.....?.?M.B" + // 00 groups 6 and 7, LAR, LSL, SYSCALL, CLTS, SYSRET, INVD, WBINVD, UD2, PREFETCHW, FEMMS, 3DNow!
	"MMMMMMMMMMMMMMMM" + // 10 MOVUPS to MOVHPS, hints
	"CCCC????MMMMMMMM" + // 20 MOV of control and debug registers, MOVAPS to COMISS
	"......?.????????" + // 30 WRMSR, RDTSC, RDMSR, RDPMC, SYSENTER, SYSEXIT, GETSEC; 38 and 3a are escapes
	"MMMMMMMMMMMMMMMM" + // 40 CMOVcc
	"MMMMMMMMMMMMMMMM" + // 50 MOVMSKPS to MAXPS
	"MMMMMMMMMMMMMMMM" + // 60 PUNPCKLBW to MOVDQA
	"BBBBMMM.EM??MMMM" + // 70 PSHUF, groups 12 to 14, PCMPEQ, EMMS, VMREAD, VMWRITE, HADDPS, MOVD
	"JJJJJJJJJJJJJJJJ" + // 80 Jcc
	"MMMMMMMMMMMMMMMM" + // 90 SETcc
	"...MBM??...MBMMM" + // a0 PUSH, POP, CPUID, BT, SHLD, RSM, BTS, SHRD, group 15, IMUL
	"MMMMMMMMMMBMMMMM" + // b0 CMPXCHG, BTR, MOVZX, POPCNT, UD1, group 8, BTC, BSF, BSR, MOVSX
	"MMBMBBBM........" + // c0 XADD, CMPPS, MOVNTI, PINSRW, PEXTRW, SHUFPS, group 9, BSWAP
	"MMMMMMMMMMMMMMMM" + // d0 vectors of integers
	"MMMMMMMMMMMMMMMM" + // e0
	"MMMMMMMMMMMMMMMM" //   f0 ..., UD0

// vectorImm8 says that an opcode of map 0f with VEX or EVEX has an immediate: VPSHUF, shifts, VCMP, VPINSRW, VPEXTRW, VSHUFP.
func vectorImm8(op byte) bool {
	return op >= 0x70 && op <= 0x73 || op == 0xc2 || op >= 0xc4 && op <= 0xc6
}

const (
	legacyPrefix = iota + 1
	rexPrefix
)

// kinds says which bytes are prefixes.
var kinds = [256]uint8{
	0x26: legacyPrefix, 0x2e: legacyPrefix, 0x36: legacyPrefix, 0x3e: legacyPrefix, 0x64: legacyPrefix, 0x65: legacyPrefix,
	0x66: legacyPrefix, 0x67: legacyPrefix, 0xf0: legacyPrefix, 0xf2: legacyPrefix, 0xf3: legacyPrefix,

	0x40: rexPrefix, 0x41: rexPrefix, 0x42: rexPrefix, 0x43: rexPrefix, 0x44: rexPrefix, 0x45: rexPrefix, 0x46: rexPrefix, 0x47: rexPrefix,
	0x48: rexPrefix, 0x49: rexPrefix, 0x4a: rexPrefix, 0x4b: rexPrefix, 0x4c: rexPrefix, 0x4d: rexPrefix, 0x4e: rexPrefix, 0x4f: rexPrefix,
}
