package x86

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"usui/host/need"
)

// text is the code of an ELF file, and its address.
func text(t testing.TB, path string) ([]byte, uint64) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".text")
	if s == nil {
		t.Fatalf("%s has no section .text", path)
	}
	code, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return code, s.Addr
}

// self is the code of this test's own program, up to so many bytes: Go's, and under the race detector C++'s.
func self(t testing.TB, most int) []byte {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("need amd64: the code of this program is that of another architecture")
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code, _ := text(t, path)
	return code[:min(most, len(code))]
}

// TestFieldsAreThoseOfX86asm compares lengths, and the values of displacements, immediates and targets.
func TestFieldsAreThoseOfX86asm(t *testing.T) {
	code := self(t, 512<<10)
	compared, values := 0, 0
	for off := 0; off < len(code); {
		in, err := decode(code[off:])
		want, wantErr := x86asm.Decode(code[off:], 64)
		known := wantErr == nil && want.Op != 0
		switch {
		case !known && err != nil:
			off++ // padding or data
			continue
		case !known || err == nil && in.Vector(): // it knows few instructions of AVX, and VZEROUPPER as one of four bytes
			off += in.Len()
			continue
		case err != nil || in.Len() != want.Len:
			t.Fatalf("% x is %d bytes, %v; x86asm says %d: %v", code[off:off+want.Len], in.Len(), err, want.Len, want)
		}
		n, problem := sameValues(code[off:off+in.Len()], &in, &want)
		if problem != "" {
			t.Fatalf("% x is %s: %s, x86asm says %v", code[off:off+in.Len()], layout(code[off:], &in), problem, want)
		}
		compared, values, off = compared+1, values+n, off+in.Len()
	}
	if compared < 10000 || values < 10000 {
		t.Errorf("compared %d instructions with %d values in %d bytes, want more", compared, values, len(code))
	}
}

// sameValues compares the values in an instruction with those that x86asm reads, and counts them.
func sameValues(code []byte, in *Inst, want *x86asm.Inst) (n int, problem string) {
	for _, arg := range want.Args {
		var f Field
		var value int64
		switch a := arg.(type) {
		case x86asm.Imm:
			f, value = Imm, int64(a)
		case x86asm.Rel:
			f, value = Imm, int64(a)
		case x86asm.Mem:
			f, value = Disp, a.Disp
		default:
			continue
		}
		start, end := in.Range(f)
		if start == end && f == Disp && value == 0 || start == end && f == Imm && (value == 1 || value == 3) {
			continue // no displacement; a shift by one, and INT3
		}
		got, bits := signed(code[start:end])
		if got != value && bits < 64 && got&(1<<bits-1) != value&(1<<bits-1) || start == end {
			return n, fmt.Sprintf("%v is %d, want %d", f, got, value)
		}
		n++
	}
	if rel := want.PCRel != 0; rel != (in.Branch() || in.RIPRelative()) {
		return n, "whether it is relative differs"
	}
	return n, ""
}

// signed reads a number of so many bits.
func signed(b []byte) (v int64, bits int) {
	for i, x := range b {
		v |= int64(x) << (8 * i)
	}
	bits = 8 * len(b)
	return v << (64 - bits) >> (64 - bits), bits
}

// TestLengthsAreThoseOfObjdump compares lengths in code of C and assembly, with AVX and AVX-512.
func TestLengthsAreThoseOfObjdump(t *testing.T) {
	objdump := need.Tool(t, "objdump", "binutils")
	if runtime.GOARCH != "amd64" {
		t.Skip("need amd64: the host's libraries are those of another architecture")
	}
	paths, err := filepath.Glob("/lib/*/libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, objdump) {
		code, address := text(t, path)
		compared := 0
		for at, lines := range disassembly(t, objdump, path) {
			off := int(at - address)
			in, err := decode(code[off:])
			if err != nil || in.Len() != lines.size {
				t.Errorf("%s: %s is %d bytes, %v, want %d", path, lines.text, in.Len(), err, lines.size)
			}
			compared++
		}
		if compared < 1000 {
			t.Errorf("%s: compared %d instructions, want more", path, compared)
		}
	}
}

type line struct {
	size int
	text string
}

// disassembly is what objdump makes of a file, without what it calls bad, and a REX prefix that stands alone in data.
func disassembly(t *testing.T, objdump, path string) map[uint64]line {
	t.Helper()
	cmd := exec.Command(objdump, "--disassemble", "--wide", "--section=.text", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := map[uint64]line{}
	for s := bufio.NewScanner(out); s.Scan(); {
		parts := strings.SplitN(s.Text(), "\t", 3)
		if len(parts) < 3 || strings.Contains(parts[2], "(bad)") || strings.HasPrefix(parts[2], "rex.") {
			continue
		}
		at, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(parts[0]), ":"), 16, 64)
		if err != nil {
			continue
		}
		lines[at] = line{len(strings.Fields(parts[1])), s.Text()}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func BenchmarkDecode(b *testing.B) {
	code := self(b, 1<<20)
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		for off := 0; off < len(code); {
			in, err := decode(code[off:])
			if err != nil {
				off++
				continue
			}
			off += in.Len()
		}
	}
}
