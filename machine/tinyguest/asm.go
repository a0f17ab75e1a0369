package tinyguest

import "fmt"

// Asm assembles a guest, one method an instruction. The zero value is not usable; see [NewAsm]. What cannot be
// encoded is remembered and returned by Program.
type Asm struct {
	mode   Mode
	code   []byte
	labels map[string]int // offsets in code
	uses   []use
	err    error // the first
}

// Mode is the state in which a guest starts: the constants stand with their architecture.
type Mode int

// use is a place in the code that waits for a label. patch writes into code[at:] how to get to code[target:].
type use struct {
	at    int
	label string
	patch func(code []byte, at, target int) error
}

// NewAsm returns an assembler for guests that start in the given mode.
func NewAsm(mode Mode) *Asm {
	return &Asm{mode: mode, labels: map[string]int{}}
}

// Label names the place of the next instruction.
func (a *Asm) Label(name string) {
	if _, twice := a.labels[name]; twice {
		a.fail("label %s: defined twice", name)
	}
	a.labels[name] = len(a.code)
}

// Raw adds bytes as they are: instructions that Asm does not know, or data.
func (a *Asm) Raw(code ...byte) { a.code = append(a.code, code...) }

// refer adds code that needs a label; at is where in it the patch begins.
func (a *Asm) refer(label string, at int, patch func(code []byte, at, target int) error, code ...byte) {
	a.uses = append(a.uses, use{len(a.code) + at, label, patch})
	a.Raw(code...)
}

func (a *Asm) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("assemble at offset %#x: "+format, append([]any{len(a.code)}, args...)...)
	}
}

// Program resolves the labels.
func (a *Asm) Program() (*Program, error) {
	for _, u := range a.uses {
		target, found := a.labels[u.label]
		if !found {
			a.fail("label %s: not defined", u.label)
			break
		}
		if err := u.patch(a.code, u.at, target); err != nil {
			a.fail("label %s: %w", u.label, err)
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	return &Program{mode: a.mode, code: a.code, labels: a.labels}, nil
}

// Program is an assembled guest. It does not change any more, and runs in any number of guests.
type Program struct {
	mode   Mode
	code   []byte
	labels map[string]int
}

// Code returns a copy of the instructions, for callers that put them into memory by themselves. They run at any address as long
// as no label is used as a value.
func (p *Program) Code() []byte { return append([]byte(nil), p.code...) }

// Addr returns where in guest-physical memory a label lies.
func (p *Program) Addr(label string) (uint64, error) {
	offset, found := p.labels[label]
	if !found {
		return 0, fmt.Errorf("label %s: not defined", label)
	}
	return CodeAddr + uint64(offset), nil
}
