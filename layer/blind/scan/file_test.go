package scan

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"usui/layer/blind/terminator"
)

var little = binary.LittleEndian

// wazeroFile is a file of wazero's cache.
func wazeroFile(code []byte, offsets ...uint64) []byte {
	b := append([]byte("WAZEVO"), 3)
	b = append(b, "dev"...)
	b = little.AppendUint32(b, uint32(len(offsets)))
	for _, off := range offsets {
		b = little.AppendUint64(b, off)
	}
	b = little.AppendUint64(b, uint64(len(code)))
	b = append(b, code...)
	return little.AppendUint32(b, crc32.Checksum(code, crc32.MakeTable(crc32.Castagnoli)))
}

// jitdump is a file with one piece of code for each name.
func jitdump(machine elf.Machine, code []byte, names ...string) []byte {
	b := append([]byte("DTiJ"), 1, 0, 0, 0)
	b = little.AppendUint32(b, 40)
	b = little.AppendUint32(b, uint32(machine))
	b = append(b, make([]byte, 40-16)...)
	for i, name := range names {
		record := func(id uint32, body []byte) {
			b = little.AppendUint32(b, id)
			b = little.AppendUint32(b, uint32(16+len(body)))
			b = append(append(b, make([]byte, 8)...), body...)
		}
		record(2, []byte{1, 2, 3}) // line numbers
		body := make([]byte, 16)
		body = little.AppendUint64(body, uint64(0x1000*(i+1)))
		body = little.AppendUint64(body, uint64(len(code)))
		body = append(body, make([]byte, 8)...)
		record(0, append(append(append(body, name...), 0), code...))
	}
	return b
}

// elfFile is a program with a section ".text" and a symbol for each function, or, without sections, with a segment.
func elfFile(machine elf.Machine, code []byte, sections bool, functions ...Function) []byte {
	const header, programs, base = 64, 56, 0x400000
	names := "\x00.text\x00.symtab\x00.strtab\x00f\x00"
	text := uint64(header + programs)
	symbols := []elf.Sym64{{}}
	for _, f := range functions {
		symbols = append(symbols, elf.Sym64{Name: 23, Info: byte(elf.STB_GLOBAL)<<4 | byte(elf.STT_FUNC), Shndx: 1, Value: base + uint64(f.Off), Size: uint64(f.Size)})
	}
	symtab := text + uint64(len(code))
	strtab := symtab + uint64(len(symbols))*elf.Sym64Size
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Entry: base, Phoff: header, Ehsize: header, Phentsize: programs, Phnum: 1,
		Shentsize: 64,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	if sections {
		h.Shoff, h.Shnum, h.Shstrndx = strtab+uint64(len(names)), 4, 3
	}
	p := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Off: text, Vaddr: base, Filesz: uint64(len(code)), Memsz: uint64(len(code))}
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, little, v); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	write(h)
	write(p)
	write(code)
	write(symbols)
	write([]byte(names))
	if sections {
		write([]elf.Section64{
			{},
			{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR), Addr: base, Off: text, Size: uint64(len(code))},
			{Name: 7, Type: uint32(elf.SHT_SYMTAB), Off: symtab, Size: strtab - symtab, Link: 3, Entsize: elf.Sym64Size},
			{Name: 15, Type: uint32(elf.SHT_STRTAB), Off: strtab, Size: uint64(len(names))},
		})
	}
	return b.Bytes()
}

// twoFunctions is code with a constant in the second one.
var twoFunctions = []byte{0xc3, nop, nop, nop, 0xb8, 0xc3, 0, 0, 0, 0xc3}

func TestFormats(t *testing.T) {
	arm := little.AppendUint32(nil, 0xd65f03c0)
	for _, tt := range []struct {
		name    string
		folder  string
		content []byte
		options Options
		want    string // format, architecture, functions, intended returns, offenders
	}{
		{"wazero", "wazero-dev-amd64-linux", wazeroFile(twoFunctions, 0, 4), Options{}, "wazero amd64 2 2 [1 \"\" 0x5]"},
		{"wazero of a version with hyphens", "wazero-v1.2.3-rc.1-amd64-linux", wazeroFile(twoFunctions, 0, 4), Options{}, "wazero amd64 2 2 [1 \"\" 0x5]"},
		{"wazero for arm64", "wazero-dev-arm64-linux", wazeroFile(arm, 0), Options{}, "wazero arm64 1 1 []"},
		{"wazero elsewhere", "cache", wazeroFile(twoFunctions, 0, 4), Options{Arch: "amd64"}, "wazero amd64 2 2 [1 \"\" 0x5]"},
		{"wazero without functions", "cache", wazeroFile(nil), Options{Arch: "amd64"}, "wazero amd64 0 0 []"},
		{"jitdump", "", jitdump(elf.EM_X86_64, twoFunctions, "JS:a", "wasm"), Options{}, "jitdump amd64 2 4 [0 \"JS:a\" 0x1005 1 \"wasm\" 0x2005]"},
		{"jitdump for arm64", "", jitdump(elf.EM_AARCH64, arm, "f"), Options{}, "jitdump arm64 1 1 []"},
		{"jitdump without code", "", jitdump(elf.EM_X86_64, nil), Options{}, "jitdump amd64 0 0 []"},
		{"ELF", "", elfFile(elf.EM_X86_64, twoFunctions, true, Function{"", 0, 1}, Function{"", 4, 6}), Options{}, "elf amd64 2 2 [1 \"f\" 0x400005]"},
		{"ELF with functions that overlap", "", elfFile(elf.EM_X86_64, twoFunctions, true, Function{"", 4, 6}, Function{"", 4, 3}, Function{"", 0, 600}), Options{}, "elf amd64 2 2 [1 \"f\" 0x400005]"},
		{"ELF without symbols", "", elfFile(elf.EM_X86_64, twoFunctions, true), Options{Arch: "amd64"}, "elf amd64 0 2 [-1 \"\" 0x400005]"},
		{"ELF without sections", "", elfFile(elf.EM_X86_64, twoFunctions, false), Options{}, "elf amd64 0 2 [-1 \"\" 0x400005]"},
		{"ELF for arm64", "", elfFile(elf.EM_AARCH64, arm, true), Options{}, "elf arm64 0 1 []"},
		{"ELF as raw code", "", twoFunctions, Options{Format: Raw, Arch: "amd64"}, "raw amd64 0 2 [-1 \"\" 0x5]"},
	} {
		path := filepath.Join(t.TempDir(), tt.folder, "file")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := File(path, tt.options)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var offenders []string
		for _, o := range r.Offenders {
			offenders = append(offenders, fmt.Sprintf("%d %q %#x", o.Function, o.Name, o.Address))
		}
		if got := fmt.Sprintf("%s %s %d %d %v", r.Format, r.Arch, r.Size.Functions, r.Intended.Of(terminator.Ret), offenders); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestErrorsOfFiles(t *testing.T) {
	code := twoFunctions
	flipped := wazeroFile(code, 0, 4)
	flipped[len(flipped)-8] ^= 1
	many := append([]byte("WAZEVO\x00"), 0xff, 0xff, 0xff, 0xff)
	long := jitdump(elf.EM_X86_64, code, "f")
	little.PutUint64(long[40+16+3+16+24:], 1<<63)
	for _, tt := range []struct {
		name    string
		content []byte
		options Options
		want    string
	}{
		{"nothing", nil, Options{}, "neither a file of wazero's cache nor ELF nor a jitdump"},
		{"text", []byte("#!/bin/sh\n"), Options{}, "neither"},
		{"another format", jitdump(elf.EM_X86_64, code), Options{Format: ELF}, "bad magic number"},
		{"no format", code, Options{Format: "pe"}, `unknown format "pe"`},
		{"no architecture", code, Options{Format: Raw}, "does not say for which architecture"},
		{"cache without architecture", wazeroFile(code, 0), Options{}, "does not say for which architecture"},
		{"unknown architecture", code, Options{Format: Raw, Arch: "mips"}, `architecture "mips": want amd64 or arm64`},
		{"wrong architecture", jitdump(elf.EM_X86_64, code, "f"), Options{Arch: "arm64"}, "is for amd64, not arm64"},
		{"damaged cache", flipped, Options{}, "checksum"},
		{"functions out of order", wazeroFile(code, 4, 0), Options{}, "function 1 begins at 0x0"},
		{"function behind the code", wazeroFile(code, 0, 11), Options{}, "function 1 begins at 0xb"},
		{"function far behind the code", wazeroFile(code, 1<<63), Options{}, "function 0 begins at 0x8000000000000000"},
		{"many functions", many, Options{}, "cut off"},
		{"jitdump of a machine", jitdump(elf.EM_PPC64, code, "f"), Options{}, "EM_PPC64: amd64 and arm64 are known"},
		{"jitdump with long code", long, Options{}, "its code is cut off"},
		{"ELF of a machine", elfFile(elf.EM_RISCV, code, true), Options{}, "EM_RISCV: amd64 and arm64 are known"},
		{"ELF without code", elfFile(elf.EM_X86_64, nil, false)[:64], Options{}, "the ELF file is cut off"},
		{"ROPgadget for arm64", code[:8], Options{Format: Raw, Arch: "arm64", Definitions: ROPgadget}, "ROPgadget's definitions are for amd64, not arm64"},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(path, tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := File(filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestFilesThatAreCutOffAreErrors(t *testing.T) {
	for name, content := range map[string][]byte{
		"wazero": wazeroFile(twoFunctions, 0, 4), "jitdump": jitdump(elf.EM_X86_64, twoFunctions, "f"), "elf": elfFile(elf.EM_X86_64, twoFunctions, true),
	} {
		whole := map[int]bool{len(content): true}
		if name == "jitdump" { // between two records
			whole[40], whole[40+19] = true, true
		}
		for n := range content {
			if _, err := parse(Format(name), content[:n]); (err == nil) != whole[n] {
				t.Errorf("%s, the first %d bytes of %d: %v", name, n, len(content), err)
			}
		}
	}
}

func TestHostileCodeHasAnEnd(t *testing.T) {
	code := bytes.Repeat([]byte{0x48, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3}, maxOffenders/8+1)
	r := scanned(t, terminator.AMD64, code, Options{})
	if got := r.Chosen().Of(terminator.Ret); len(r.Offenders) != maxOffenders || r.Unlisted != 8 || got != maxOffenders+8 {
		t.Errorf("%d offenders are listed and %d are not, of %d; want %d and 8", len(r.Offenders), r.Unlisted, got, maxOffenders)
	}
}

// fuzzParser wants a parser to give only what can be scanned, and of the file's own bytes.
func fuzzParser(f *testing.F, format Format) {
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parse(format, content)
		if err != nil {
			return
		}
		size := 0
		for _, seg := range p.segments {
			size += len(seg.code)
			if err := apart(seg.functions, len(seg.code)); err != nil {
				t.Fatal(err)
			}
			r, err := newReport(p.arch, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.add(p.arch, seg, Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if size > len(content) {
			t.Fatalf("%d bytes of code in %d", size, len(content))
		}
	})
}

func FuzzWazero(f *testing.F) {
	f.Add(wazeroFile(twoFunctions, 0, 4))
	f.Add(wazeroFile(nil))
	fuzzParser(f, Wazero)
}

func FuzzJitdump(f *testing.F) {
	f.Add(jitdump(elf.EM_X86_64, twoFunctions, "a", "b"))
	f.Add(jitdump(elf.EM_AARCH64, nil, ""))
	fuzzParser(f, Jitdump)
}

func FuzzELF(f *testing.F) {
	f.Add(elfFile(elf.EM_X86_64, twoFunctions, true, Function{"", 0, 1}, Function{"", 4, 6}))
	f.Add(elfFile(elf.EM_AARCH64, twoFunctions, false))
	fuzzParser(f, ELF)
}

// self scans this test's own program.
func self(t testing.TB, o Options) Report {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, err := File(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThisProgram(t *testing.T) {
	r := self(t, Options{})
	want, _ := terminator.ParseArch(runtime.GOARCH)
	if r.Arch != want.String() || r.Size.Instructions < 100000 { // "go test" strips symbols, so there are no functions
		t.Errorf("%s, %+v, want the code of a Go program", r.Arch, r.Size)
	}
	if r.Size.Unknown*1000 > r.Size.Code {
		t.Errorf("%d bytes of %d are not decoded, want at most one in a thousand", r.Size.Unknown, r.Size.Code)
	}
	if !slices.IsSortedFunc(r.Offenders, func(a, b Offender) int { return int(int64(a.Address) - int64(b.Address)) }) {
		t.Error("the offenders are not in order")
	}
}

func BenchmarkScan(b *testing.B) {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := File(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(r.Size.Code))
	}
}
