package x86

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func decode(code []byte) (in Inst, err error) {
	err = in.Decode(code)
	return in, err
}

// layout writes the fields of an instruction that are not empty, with their names, and what is said of them.
func layout(code []byte, in *Inst) string {
	var parts []string
	for f := range numFields {
		if start, end := in.Range(f); start < end {
			parts = append(parts, fmt.Sprintf("%v:%x", f, code[start:end]))
		}
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"rip", in.RIPRelative()}, {"target", in.Branch()}, {"stack", in.OnStack()}, {"vector", in.Vector()}} {
		if flag.set {
			parts = append(parts, flag.name)
		}
	}
	return strings.Join(parts, " ")
}

func TestFieldsOfInstructions(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		// What wazero makes of constants, offsets, spills, pools and tables.
		{"b80f05c300", "opcode:b8 imm:0f05c300"},
		{"48b8c3c2c1c0cbcacfc3", "rex:48 opcode:b8 imm:c3c2c1c0cbcacfc3"},
		{"48c7c0c3ffffff", "rex:48 opcode:c7 modrm:c0 imm:c3ffffff"},
		{"4883c0c3", "rex:48 opcode:83 modrm:c0 imm:c3"},
		{"4881c6c3000000", "rex:48 opcode:81 modrm:c6 imm:c3000000"},
		{"6bc0c3", "opcode:6b modrm:c0 imm:c3"},
		{"48c1e7c3", "rex:48 opcode:c1 modrm:e7 imm:c3"},
		{"488b84080f05c300", "rex:48 opcode:8b modrm:84 sib:08 disp:0f05c300"},
		{"8845c3", "opcode:88 modrm:45 disp:c3"},
		{"48898424c2000000", "rex:48 opcode:89 modrm:84 sib:24 disp:c2000000 stack"},
		{"49898424c2000000", "rex:49 opcode:89 modrm:84 sib:24 disp:c2000000"},
		{"f30f6f05c3000000", "prefix:f3 opcode:0f6f modrm:05 disp:c3000000 rip"},
		{"488d05c3000000", "rex:48 opcode:8d modrm:05 disp:c3000000 rip"},
		{"4803c1", "rex:48 opcode:03 modrm:c1"},
		{"ffe0", "opcode:ff modrm:e0"},
		{"41ffd4", "rex:41 opcode:ff modrm:d4"},
		{"e8c3000000", "opcode:e8 imm:c3000000 target"},
		{"0f84c3000000", "opcode:0f84 imm:c3000000 target"},
		{"74c3", "opcode:74 imm:c3 target"},
		{"0f0b", "opcode:0f0b"},
		{"c3", "opcode:c3"},
		{"c2c300", "opcode:c2 imm:c300"},
		{"660f3a0fc1c3", "prefix:66 opcode:0f3a0f modrm:c1 imm:c3"},
		{"66440f3840c1", "prefix:66 rex:44 opcode:0f3840 modrm:c1"},
		{"f2480f2ac0", "prefix:f2 rex:48 opcode:0f2a modrm:c0"},
		{"f0480fb10e", "prefix:f0 rex:48 opcode:0fb1 modrm:0e"},
		// Immediates whose size depends on prefixes or on ModRM.
		{"66b8c300", "prefix:66 opcode:b8 imm:c300"},
		{"6648b8c3c2c1c0cbcacfc3", "prefix:66 rex:48 opcode:b8 imm:c3c2c1c0cbcacfc3"},
		{"66c7c0c300", "prefix:66 opcode:c7 modrm:c0 imm:c300"},
		{"f6c0c3", "opcode:f6 modrm:c0 imm:c3"},
		{"f6d0", "opcode:f6 modrm:d0"},
		{"f7c0c3000000", "opcode:f7 modrm:c0 imm:c3000000"},
		{"66f7c0c300", "prefix:66 opcode:f7 modrm:c0 imm:c300"},
		{"f7d8", "opcode:f7 modrm:d8"},
		{"c8c30001", "opcode:c8 imm:c30001"},
		{"48a1c300000000000000", "rex:48 opcode:a1 disp:c300000000000000"},
		{"67a1c3000000", "prefix:67 opcode:a1 disp:c3000000"},
		{"c7f8c3000000", "opcode:c7 modrm:f8 imm:c3000000 target"},
		{"66e9c3000000", "prefix:66 opcode:e9 imm:c3000000 target"},
		{"660f78c00102", "prefix:66 opcode:0f78 modrm:c0 imm:0102"},
		{"0f78c0", "opcode:0f78 modrm:c0"},
		{"0f0fc1bf", "opcode:0f0f modrm:c1 imm:bf"},
		// Memory operands.
		{"8b00", "opcode:8b modrm:00"},
		{"8b0425c3000000", "opcode:8b modrm:04 sib:25 disp:c3000000"},
		{"8b042c", "opcode:8b modrm:04 sib:2c stack"},
		{"8b442cc3", "opcode:8b modrm:44 sib:2c disp:c3 stack"},
		{"8b4405c3", "opcode:8b modrm:44 sib:05 disp:c3"},
		{"678b85c3000000", "prefix:67 opcode:8b modrm:85 disp:c3000000"},
		{"0f22c0", "opcode:0f22 modrm:c0"},
		{"0f2200", "opcode:0f22 modrm:00"},
		// A REX before another prefix is void; the last one counts.
		{"4866b8c300", "prefix:4866 opcode:b8 imm:c300"},
		{"4048b8c3c2c1c0cbcacfc3", "prefix:40 rex:48 opcode:b8 imm:c3c2c1c0cbcacfc3"},
		{"2e67f366c3", "prefix:2e67f366 opcode:c3"},
		// VEX, XOP, EVEX.
		{"c5f877", "rex:c5f8 opcode:77 vector"},
		{"c5f1c2c1c3", "rex:c5f1 opcode:c2 modrm:c1 imm:c3 vector"},
		{"c5f8588424c3000000", "rex:c5f8 opcode:58 modrm:84 sib:24 disp:c3000000 stack vector"},
		{"c4c178588424c3000000", "rex:c4c178 opcode:58 modrm:84 sib:24 disp:c3000000 vector"},
		{"c4e37d19c1c3", "rex:c4e37d opcode:19 modrm:c1 imm:c3 vector"},
		{"c4e27918c1", "rex:c4e279 opcode:18 modrm:c1 vector"},
		{"62f1fd486f8424c3000000", "rex:62f1fd48 opcode:6f modrm:84 sib:24 disp:c3000000 stack vector"},
		{"62f3fd4825c1c3", "rex:62f3fd48 opcode:25 modrm:c1 imm:c3 vector"},
		{"62f57c4858c1", "rex:62f57c48 opcode:58 modrm:c1 vector"},
		{"8fe878c2ec0e", "rex:8fe878 opcode:c2 modrm:ec imm:0e vector"},
		{"8fe97890c0", "rex:8fe978 opcode:90 modrm:c0 vector"},
		{"8fea7810c0c3000000", "rex:8fea78 opcode:10 modrm:c0 imm:c3000000 vector"},
		{"8fc0", "opcode:8f modrm:c0"},
	} {
		code, err := hex.DecodeString(tt.code)
		if err != nil {
			t.Fatal(err)
		}
		in, err := decode(append(code, 0xcc, 0xcc)) // what follows plays no part
		if got := layout(code, &in); err != nil || got != tt.want || in.Len() != len(code) {
			t.Errorf("Decode(%s) = %s of %d bytes, %v; want %s", tt.code, got, in.Len(), err, tt.want)
		}
		for n := range code {
			if _, err := decode(code[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("Decode(%s) = %v, want that it is truncated", tt.code[:2*n], err)
			}
		}
		for off := range code {
			f := in.At(off)
			if start, end := in.Range(f); off < start || off >= end {
				t.Errorf("Decode(%s): byte %d is said to be of %v, which is %d to %d", tt.code, off, f, start, end)
			}
		}
	}
}

func TestWhatIsNoInstruction(t *testing.T) {
	for _, code := range []string{
		"06", "0e", "1f", "27", "60", "82c000", "9a", "ceea", "d4", "d5", "d6", "ea", // not in 64-bit mode
		"0f04", "0f0a", "0f24", "0f36", "0f39", "0f3b", "0f7a", "0fa6", // undefined
		"8fe0c0", "c6c800", "c7d000000000", "fed0", "fff8", "ffd8", "ffe8", // register fields without an instruction
		"48c5f877", "66c5f877", "f0c5f877", "f3c5f877", "c4e478d4c0", "c4e07810c0", "c4e87810c0", // VEX behind what faults; maps without instructions
		"62f4fc4858c1", "62f0fc4858c1", "62f1f84858c1", "62f9fd4858c1", "8feb7810c0", // likewise of EVEX and XOP
		"66666666666666666666666666666666c3", "6666666666666666666666666648b8c3c2c1c0cbcacfc3", // too long
	} {
		bytes, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		padded := append(bytes, make([]byte, 16)...)
		if in, err := decode(padded); !errors.Is(err, ErrUnknown) {
			t.Errorf("Decode(%s) = %s, %v; want that it is unknown", code, layout(padded, &in), err)
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	code := []byte{0x48, 0x8b, 0x84, 0x08, 0x0f, 0x05, 0xc3, 0x00}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := decode(code); err != nil {
			t.Error(err)
		}
		if _, err := decode(code[:7]); err == nil {
			t.Error("a truncated instruction was decoded")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, code := range []string{"c3", "48b8c3c2c1c0cbcacfc3", "62f1fd486f8424c3000000", "c4e37d19c1c3", "8fe878c2ec0e", "4866b8c300", "0f78c0"} {
		bytes, err := hex.DecodeString(code)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		in, err := decode(code)
		if err != nil {
			if in != (Inst{}) || !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrTruncated) {
				t.Fatalf("Decode(% x) = %+v, %v", code, in, err)
			}
			return
		}
		if in.Len() < 1 || in.Len() > len(code) || in.Len() > maxLen {
			t.Fatalf("Decode(% x): %d bytes", code, in.Len())
		}
		at := 0
		for f := range numFields {
			start, end := in.Range(f)
			if start != at || end < start {
				t.Fatalf("Decode(% x): %v is from %d to %d, behind %d", code, f, start, end, at)
			}
			at = end
		}
		if at != in.Len() {
			t.Fatalf("Decode(% x): the fields have %d bytes of %d", code, at, in.Len())
		}
		if again, err := decode(code[:in.Len()]); err != nil || again != in {
			t.Fatalf("Decode(% x) depends on what follows: %+v, %v", code, again, err)
		}
	})
}
