package scan

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"

	"usui/layer/blind/terminator"
)

var elfMagic = []byte(elf.ELFMAG)

// parseELF reads the executable sections of an ELF file, with the functions that its symbols name; without sections, its executable
// segments.
func parseELF(content []byte) (program, error) {
	f, err := elf.NewFile(bytes.NewReader(content))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return program{}, errors.New("the ELF file is cut off")
	}
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
		if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_EXECINSTR == 0 || s.FileSize == 0 {
			continue
		}
		base := s.Addr
		if f.Type == elf.ET_REL { // symbols count from their section
			base = 0
		}
		code, err := p.part(content, s.Offset, s.FileSize)
		if err != nil {
			return program{}, fmt.Errorf("section %q: %w", s.Name, err)
		}
		p.segments = append(p.segments, segment{s.Addr, code, inSection(symbols, elf.SectionIndex(i), base, len(code))})
	}
	if len(f.Sections) == 0 {
		err = p.loaded(f, content)
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
func (p *program) loaded(f *elf.File, content []byte) error {
	for _, s := range f.Progs {
		if s.Type != elf.PT_LOAD || s.Flags&elf.PF_X == 0 {
			continue
		}
		code, err := p.part(content, s.Off, s.Filesz)
		if err != nil {
			return fmt.Errorf("segment at %#x: %w", s.Vaddr, err)
		}
		p.segments = append(p.segments, segment{address: s.Vaddr, code: code})
	}
	return nil
}

// part is some bytes of a file that are code. All parts together are no longer than the file.
func (p *program) part(content []byte, off, size uint64) ([]byte, error) {
	length := uint64(len(content))
	if off > length || size > length-off {
		return nil, fmt.Errorf("%d bytes at %#x are not in the %d bytes of the file", size, off, length)
	}
	if p.size += size; p.size > length {
		return nil, errors.New("with those before it, it is longer than the file")
	}
	return content[off : off+size : off+size], nil
}

// functionSymbols gives the functions that have a symbol, by section and address. A file without symbols has none.
func functionSymbols(f *elf.File) []elf.Symbol {
	symbols, err := f.Symbols()
	if err != nil || len(symbols) == 0 {
		if symbols, err = f.DynamicSymbols(); err != nil {
			return nil // they are a help, and no more
		}
	}
	symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool { return elf.ST_TYPE(s.Info) != elf.STT_FUNC })
	slices.SortStableFunc(symbols, func(a, b elf.Symbol) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Value, b.Value))
	})
	return symbols
}

// inSection makes functions of the symbols of a section: those that overlap are cut, and of those at one place the first is kept.
func inSection(symbols []elf.Symbol, section elf.SectionIndex, base uint64, size int) (functions []Function) {
	first, _ := slices.BinarySearchFunc(symbols, section, func(s elf.Symbol, i elf.SectionIndex) int { return cmp.Compare(s.Section, i) })
	for _, s := range symbols[first:] {
		if s.Section != section {
			break
		}
		off := s.Value - base
		if s.Value < base || off >= uint64(size) {
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
