package terminator

import (
	"fmt"
	"iter"
	"strings"
)

// Set is a set of classes of terminators.
type Set uint8

// Classes of terminators, with their amd64 and arm64 instructions.
const (
	Ret      Set = 1 << iota // ret, retf, iret; RET, ERET and their authenticated forms
	Indirect                 // call and jmp through a register or memory; BR, BLR and their authenticated forms
	Syscall                  // syscall, sysret, sysenter, sysexit, int 80h; SVC, HVC, SMC
	Direct                   // call, jmp, jcc, loop with a relative target; B, BL, B.cond, CB, CBZ, CBNZ, TBZ, TBNZ

	// Light is what an attacker needs. Direct branches are not in it: what they lead to was there before.
	Light = Ret | Indirect | Syscall
	// All is every class.
	All = Light | Direct
)

// classes are the names of single classes, in the order of their bits.
var classes = [...]string{"ret", "indirect", "syscall", "direct"}

// String gives the classes' names, as in "ret,indirect".
func (s Set) String() string {
	var names []string
	for c := range s.Classes() {
		names = append(names, classes[c.index()])
	}
	return strings.Join(names, ",")
}

// MarshalText implements [encoding.TextMarshaler].
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Classes are the single classes in s.
func (s Set) Classes() iter.Seq[Set] {
	return func(yield func(Set) bool) {
		for i := range classes {
			if c := Set(1) << i; s&c != 0 && !yield(c) {
				return
			}
		}
	}
}

// index is the position of a single class in classes.
func (s Set) index() int {
	for i := range classes {
		if s == 1<<i {
			return i
		}
	}
	panic(fmt.Sprintf("BUG: terminator: %#x is no single class", uint8(s)))
}

// ParseSet reads what String writes, and "light" and "all".
func ParseSet(text string) (Set, error) {
	var s Set
	for name := range strings.SplitSeq(text, ",") {
		switch c := parseClass(name); c {
		case 0:
			return 0, fmt.Errorf("class %q: want ret, indirect, syscall, direct, light or all", name)
		default:
			s |= c
		}
	}
	return s, nil
}

func parseClass(name string) Set {
	switch name {
	case "light":
		return Light
	case "all":
		return All
	}
	for i, c := range classes {
		if name == c {
			return 1 << i
		}
	}
	return 0
}

// Arch is an instruction set.
type Arch uint8

// The instruction sets that are known, with Go's names for them.
const (
	AMD64 Arch = iota
	ARM64
)

// String is Go's name for it.
func (a Arch) String() string {
	if a == ARM64 {
		return "arm64"
	}
	return "amd64"
}

// ParseArch reads what String writes.
func ParseArch(text string) (Arch, error) {
	switch text {
	case "amd64":
		return AMD64, nil
	case "arm64":
		return ARM64, nil
	}
	return 0, fmt.Errorf("architecture %q: want amd64 or arm64", text)
}

// Hit is a terminator in code.
type Hit struct {
	Off   int // where its opcode begins
	Len   int // of the bytes that make it a terminator: 1 or 2 on amd64, 4 on arm64
	Class Set // a single class
}

// Find gives every terminator of the set that code holds, by rising offset. For ARM64 code begins at a multiple of four bytes.
func (s Set) Find(a Arch, code []byte) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		for off := 0; off < len(code); {
			h, ok := s.Next(a, code, off)
			if !ok || !yield(h) {
				return
			}
			off = h.Off + 1
		}
	}
}

// Next is the first terminator of the set at or behind the offset off.
func (s Set) Next(a Arch, code []byte, off int) (Hit, bool) {
	if a == ARM64 {
		return arm64.next(s, code, off)
	}
	return amd64.next(s, code, off)
}

// Clean says that no terminator of the set lies wholly in b.
func (s Set) Clean(a Arch, b []byte) bool {
	_, found := s.Next(a, b, 0)
	return !found
}

// Strict says that no terminator of the set has a byte in b, whatever stands before and behind it: b is clean, its
// last byte begins none, and its first byte completes none. A value that goes into code at an unknown place wants this.
//
// On amd64, of random 32-bit values 44 % are strict for Light, but half of all bytes complete ff: those whose bits 4 and 5
// differ. So of c and k at most two of c, k and c^k are strict in that, and where bits 4 and 5 of c differ, either k or c^k is
// not. Ask it of c^k, which stands in code; a key that does not, need only be clean.
//
// On arm64, where b begins at a word, it is the same as Clean.
func (s Set) Strict(a Arch, b []byte) bool {
	if !s.Clean(a, b) {
		return false
	}
	if a == ARM64 || len(b) == 0 {
		return true
	}
	return amd64.begins[b[len(b)-1]]&s == 0 && amd64.completes[b[0]]&s == 0
}
