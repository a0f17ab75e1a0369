package tinyguest

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// The words were checked against go tool objdump.
func TestEncodings(t *testing.T) {
	tests := []struct {
		name string
		emit func(a *Asm)
		want string // empty: refused
	}{
		{"mov x1, 0x1122334455667788", func(a *Asm) { a.Mov(1, 0x1122334455667788) }, "d28ef101 f2aaacc1 f2c66881 f2e22441"},
		{"add x2, x3, 16", func(a *Asm) { a.Add(2, 3, 16) }, "91004062"},
		{"add x2, x3, 4096", func(a *Asm) { a.Add(2, 3, 4096) }, ""},
		{"subs x0, x0, 1", func(a *Asm) { a.Subs(0, 0, 1) }, "f1000400"},
		{"ldr x4, [x5, 8]", func(a *Asm) { a.Load(8, 4, 5, 8) }, "f94004a4"},
		{"ldrb w4, [x5, 3]", func(a *Asm) { a.Load(1, 4, 5, 3) }, "39400ca4"},
		{"str w6, [x7, 4]", func(a *Asm) { a.Store(4, 7, 4, 6) }, "b90004e6"},
		{"strh wzr, [x7]", func(a *Asm) { a.Store(2, 7, 0, 31) }, "790000ff"},
		{"str x6, [x7, 4]", func(a *Asm) { a.Store(8, 7, 4, 6) }, ""},
		{"str of 3 bytes", func(a *Asm) { a.Store(3, 7, 0, 6) }, ""},
		{"b forward", func(a *Asm) { a.B("x"); a.Nop(); a.Label("x") }, "14000002 d503201f"},
		{"b back", func(a *Asm) { a.Label("x"); a.Nop(); a.B("x") }, "d503201f 17ffffff"},
		{"b.ne back", func(a *Asm) { a.Label("x"); a.Nop(); a.BNE("x") }, "d503201f 54ffffe1"},
		{"b.eq self", func(a *Asm) { a.Label("x"); a.BEQ("x") }, "54000000"},
		{"b nowhere", func(a *Asm) { a.B("x") }, ""},
		{"hvc, wfi", func(a *Asm) { a.Hvc(); a.Wfi() }, "d4000002 d503207f"},
	}
	for _, tt := range tests {
		a := NewAsm(EL1)
		tt.emit(a)
		p, err := a.Program()
		if (err != nil) != (tt.want == "") {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			continue
		}
		got := ""
		for i := 0; err == nil && i < len(p.code); i += 4 {
			got += fmt.Sprintf(" %08x", binary.LittleEndian.Uint32(p.code[i:]))
		}
		if err == nil && got[1:] != tt.want {
			t.Errorf("%s =%s, want %s", tt.name, got, tt.want)
		}
	}
}
