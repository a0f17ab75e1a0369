package scan

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"usui/layer/blind/terminator"
)

var elfMagic = []byte(elf.ELFMAG)

// parseELF reads the executable sections of an ELF file, with the functions that its symbols name; without sections, its executable
// segments.
func parseELF(content []byte) (program, error) {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return program{}, err
	}
	arch, err := machine(f.Machine)
	if err != nil {
		return program{}, err
	}
	p := program{arch: arch, known: true}
	symbols := functionSymbols(f)
	for i, s := range f.Sections {
		if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		code, err := s.Data()
		if err != nil {
			return program{}, fmt.Errorf("section %s: %w", s.Name, err)
		}
		base := s.Addr
		if f.Type == elf.ET_REL { // symbols count from their section
			base = 0
		}
		p.segments = append(p.segments, segment{s.Addr, code, inSection(symbols, elf.SectionIndex(i), base, len(code))})
	}
	if len(f.Sections) == 0 {
		err = p.loaded(f)
	}
	if err == nil && len(p.segments) == 0 {
		err = errors.New("the ELF file has no code")
	}
	return p, err
}

// machine tells the architecture.
func machine(m elf.Machine) (terminator.Arch, error) {
	switch m {
	case elf.EM_X86_64:
		return terminator.AMD64, nil
	case elf.EM_AARCH64:
		return terminator.ARM64, nil
	}
	return 0, fmt.Errorf("the code is for %v: amd64 and arm64 are known", m)
}

// loaded takes the executable segments of a program.
func (p *program) loaded(f *elf.File) error {
	for _, s := range f.Progs {
		if s.Type != elf.PT_LOAD || s.Flags&elf.PF_X == 0 {
			continue
		}
		code, err := readAll(s)
		if err != nil {
			return err
		}
		p.segments = append(p.segments, segment{address: s.Vaddr, code: code})
	}
	return nil
}

// readAll reads what a segment has in the file. Its length is not believed before it was read.
func readAll(s *elf.Prog) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(s.Open()); err != nil {
		return nil, fmt.Errorf("segment at %#x: %w", s.Vaddr, err)
	}
	if uint64(b.Len()) != s.Filesz {
		return nil, fmt.Errorf("segment at %#x has %d bytes, and not %d as its header says", s.Vaddr, b.Len(), s.Filesz)
	}
	return b.Bytes(), nil
}

// functionSymbols gives the functions that have a symbol, by rising address. A file without symbols has none.
func functionSymbols(f *elf.File) []elf.Symbol {
	symbols, err := f.Symbols()
	if err != nil || len(symbols) == 0 {
		if symbols, err = f.DynamicSymbols(); err != nil {
			return nil // they are a help, and no more
		}
	}
	symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool { return elf.ST_TYPE(s.Info) != elf.STT_FUNC })
	slices.SortStableFunc(symbols, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	return symbols
}

// inSection makes functions of the symbols of a section: those that overlap are cut, and of those at one place the first is kept.
func inSection(symbols []elf.Symbol, section elf.SectionIndex, base uint64, size int) (functions []Function) {
	for _, s := range symbols {
		off := s.Value - base
		if s.Section != section || s.Value < base || off >= uint64(size) {
			continue
		}
		if n := len(functions); n > 0 {
			last := &functions[n-1]
			if last.Off == int(off) {
				continue
			}
			last.Size = min(last.Size, int(off)-last.Off)
		}
		functions = append(functions, Function{s.Name, int(off), int(min(s.Size, uint64(size)-off))})
	}
	return functions
}
