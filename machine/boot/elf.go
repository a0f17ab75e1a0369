package boot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Constants of the ELF gABI, chapters "ELF Header", "Program Header" and "Note Section".
const (
	elfClass64 = 2
	elfData2   = 1 // little-endian

	ptLoad = 1
	ptNote = 4

	em386     = 3
	emX86_64  = 62
	emAArch64 = 183

	maxProgramHeaders = 128 // a kernel has about 5
)

// XEN_ELFNOTE_PHYS32_ENTRY, of the name "Xen": the physical address of the PVH entry (Xen public/elfnote.h).
const (
	pvhNoteName = "Xen\x00"
	pvhNoteType = 18
)

// elfArchs are the names of e_machine values that a kernel may have.
var elfArchs = [...]struct {
	machine uint16
	name    string
}{
	{em386, archX86}, // a processor of 64 bits runs it too: entered by PVH, in 32-bit mode
	{emX86_64, archX86},
	{emAArch64, archARM64},
	{20, "ppc"}, {21, "ppc64"}, {22, "s390x"}, {40, "arm"}, {8, "mips"}, {243, "riscv"}, {258, "loongarch64"},
}

// segment is a PT_LOAD program header.
type segment struct {
	off, filesz  uint64 // bytes of the file
	paddr, memsz uint64 // guest-physical bytes, of which the first filesz come from the file and the others are zero
}

// elfImage is what the headers of an ELF file say; offsets in it were checked against the file.
type elfImage struct {
	bits64   bool
	entry    uint64
	segments []segment // by rising paddr, not overlapping, none empty
	pvh      uint64    // PVH entry
	hasPVH   bool
}

// elfLayout gives the places of header fields for one class of file.
type elfLayout struct {
	bits64                                        bool
	size                                          int // of the file header
	entry, phoff, phentsize, phnum                int
	phSize, pOffset, pPaddr, pFilesz, pMemsz, pAl int
}

// word reads an address or size of the class's width.
func (l elfLayout) word(b []byte, off int) uint64 {
	if l.bits64 {
		return le.Uint64(b[off:])
	}
	return uint64(le.Uint32(b[off:]))
}

var (
	elf32 = elfLayout{false, 52, 24, 28, 42, 44, 32, 4, 12, 16, 20, 28}
	elf64 = elfLayout{true, 64, 24, 32, 54, 56, 56, 8, 24, 32, 40, 48}
)

// checkELFArch refuses an ELF file for another architecture; truncated headers are left to parseELF.
func checkELFArch(image []byte, arch string) error {
	if len(image) < elf32.size {
		return fmt.Errorf("truncated: %d bytes are shorter than an ELF header", len(image))
	}
	if image[5] != elfData2 {
		return errors.New("a big-endian ELF file; this machine is " + arch)
	}
	m := le.Uint16(image[18:])
	for _, a := range elfArchs {
		if a.machine == m {
			return checkArch(a.name, arch)
		}
	}
	return fmt.Errorf("an ELF file for machine number %d; this machine is %s", m, arch)
}

// parseELF reads the headers of an ELF file for which checkELFArch passed.
func parseELF(image []byte) (*elfImage, error) {
	if !magicAt(image, 0, elfMagic) || len(image) < elf32.size {
		return nil, fmt.Errorf("not an ELF file: begins with % x", image[:min(8, len(image))])
	}
	l := elf32
	if image[4] == elfClass64 {
		l = elf64
	}
	if len(image) < l.size {
		return nil, fmt.Errorf("truncated: %d bytes are shorter than an ELF header", len(image))
	}
	e := &elfImage{bits64: l.bits64, entry: l.word(image, l.entry)}
	phoff, phnum := l.word(image, l.phoff), int(le.Uint16(image[l.phnum:]))
	if got := int(le.Uint16(image[l.phentsize:])); got != l.phSize || phnum > maxProgramHeaders {
		return nil, fmt.Errorf("%d program headers of %d bytes; at most %d of %d are expected", phnum, got, maxProgramHeaders, l.phSize)
	}
	table, ok := part(image, phoff, uint64(phnum*l.phSize))
	if !ok {
		return nil, fmt.Errorf("truncated: %d program headers at byte %#x of %#x", phnum, phoff, len(image))
	}
	for h := range slices.Chunk(table, l.phSize) {
		if err := e.addHeader(image, h, l); err != nil {
			return nil, err
		}
	}
	return e, e.checkSegments()
}

// part is b[off:off+n] where that lies inside b.
func part(b []byte, off, n uint64) ([]byte, bool) {
	size := uint64(len(b))
	if off > size || n > size-off {
		return nil, false
	}
	return b[off : off+n], true
}

func (e *elfImage) addHeader(image, h []byte, l elfLayout) error {
	s := segment{
		off: l.word(h, l.pOffset), filesz: l.word(h, l.pFilesz),
		paddr: l.word(h, l.pPaddr), memsz: l.word(h, l.pMemsz),
	}
	kind := le.Uint32(h)
	if kind != ptLoad && kind != ptNote {
		return nil
	}
	data, ok := part(image, s.off, s.filesz)
	if !ok {
		return fmt.Errorf("truncated: a segment ends at byte %#x, the file at %#x", s.off+s.filesz, len(image))
	}
	if kind == ptNote {
		e.findPVH(data, l.word(h, l.pAl))
		return nil
	}
	if s.filesz > s.memsz || s.paddr+s.memsz < s.paddr {
		return fmt.Errorf("segment at %#x: %#x bytes of file in %#x bytes of memory", s.paddr, s.filesz, s.memsz)
	}
	if s.memsz > 0 {
		e.segments = append(e.segments, s)
	}
	return nil
}

// findPVH looks for the PVH entry in a note segment: notes of namesz, descsz, type, name, desc, the last two padded.
func (e *elfImage) findPVH(notes []byte, align uint64) {
	if align != 8 {
		align = 4
	}
	pad := func(n uint32) uint64 { return (uint64(n) + align - 1) &^ (align - 1) }
	for len(notes) >= 12 {
		namesz, descsz, kind := le.Uint32(notes), le.Uint32(notes[4:]), le.Uint32(notes[8:])
		name, ok1 := part(notes[12:], 0, uint64(namesz))
		desc, ok2 := part(notes[12:], pad(namesz), uint64(descsz))
		if !ok1 || !ok2 {
			return
		}
		if string(name) == pvhNoteName && kind == pvhNoteType && len(desc) >= 4 {
			e.pvh, e.hasPVH = uint64(le.Uint32(desc)), true // 32 bits count also where the note has 64
			return
		}
		next := 12 + pad(namesz) + pad(descsz)
		notes = notes[min(next, uint64(len(notes))):]
	}
}

func (e *elfImage) checkSegments() error {
	if len(e.segments) == 0 {
		return errors.New("an ELF file without a segment to load; is it a relocatable object?")
	}
	slices.SortFunc(e.segments, func(a, b segment) int { return cmp.Compare(a.paddr, b.paddr) })
	for i, s := range e.segments[1:] {
		if p := e.segments[i]; p.paddr+p.memsz > s.paddr {
			return fmt.Errorf("segments at %#x and %#x overlap", p.paddr, s.paddr)
		}
	}
	return nil
}

// end is the first guest-physical byte after the image.
func (e *elfImage) end() uint64 {
	last := e.segments[len(e.segments)-1]
	return last.paddr + last.memsz
}

// contains says whether a physical address lies in a segment.
func (e *elfImage) contains(paddr uint64) bool {
	return slices.ContainsFunc(e.segments, func(s segment) bool { return paddr-s.paddr < s.memsz })
}
