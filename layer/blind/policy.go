package blind

import (
	"fmt"
	"strings"

	"usui/layer/blind/terminator"
)

// Policy says which constants are blinded.
type Policy uint8

// The policies. Light is the one to use; the others are there to compare with.
const (
	Light    Policy = iota // what holds a return, an indirect branch or a system call
	Ret                    // what holds a return
	Branches               // Light, and what holds a direct branch
	Chakra                 // numbers with three or more bytes that are neither 00 nor ff, as ChakraCore's EncodeConstants has it
	All                    // every constant that is not 0, as eBPF's bpf_jit_harden has it
	None                   // nothing
)

// names are those of the policies on command lines.
var names = [...]string{"light", "ret", "branches", "chakra", "all", "none"}

// String returns the name that ParsePolicy reads.
func (p Policy) String() string {
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// ParsePolicy is the inverse of String.
func ParsePolicy(name string) (Policy, error) {
	for i, n := range names {
		if n == name {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("policy %q: there are %s", name, strings.Join(names[:], ", "))
}

// Set implements flag.Value.
func (p *Policy) Set(name string) (err error) {
	*p, err = ParsePolicy(name)
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// set returns the terminators that the policy keeps out of code; none for those that look at something else.
func (p Policy) set() terminator.Set {
	switch p {
	case Light:
		return terminator.Light
	case Ret:
		return terminator.Ret
	case Branches:
		return terminator.All
	}
	return 0
}

// byBytes reports whether the policy decides by what bytes mean. Only then are offsets, tables, indices and frames looked at, is
// machine code scanned, and can a module be refused for what is left.
func (p Policy) byBytes() bool { return p.set() != 0 }

// wants reports whether the policy blinds a constant of those bytes.
func (p Policy) wants(arch terminator.Arch, constant []byte) bool {
	switch p {
	case Chakra:
		return significant(constant) >= 3
	case All:
		for _, b := range constant {
			if b != 0 {
				return true
			}
		}
		return false
	}
	return !p.set().Clean(arch, constant)
}

// significant counts the bytes that are neither 00 nor ff.
func significant(constant []byte) int {
	n := 0
	for _, b := range constant {
		if b != 0 && b != 0xff {
			n++
		}
	}
	return n
}
