package tinyguest

import (
	"fmt"
	"strings"
	"testing"
)

// The bytes were checked against GNU objdump.
func TestEncodings(t *testing.T) {
	tests := []struct {
		name string
		emit func(a *Asm)
		long string // empty: refused
		real string
	}{
		{"mov rcx, 0x1122334455667788", func(a *Asm) { a.Mov(RCX, 0x1122334455667788) }, "48b98877665544332211", ""},
		{"mov ecx, 0x11223344", func(a *Asm) { a.Mov(RCX, 0x11223344) }, "48b94433221100000000", "66b944332211"},
		{"mov r9, 1", func(a *Asm) { a.Mov(R9, 1) }, "49b90100000000000000", ""},
		{"mov rbx, rsi", func(a *Asm) { a.MovReg(RBX, RSI) }, "4889f3", "6689f3"},
		{"mov r8, rax", func(a *Asm) { a.MovReg(R8, RAX) }, "4989c0", ""},
		{"mov rax, r15", func(a *Asm) { a.MovReg(RAX, R15) }, "4c89f8", ""},
		{"inc rax", func(a *Asm) { a.Inc(RAX) }, "48ffc0", "66ffc0"},
		{"dec r10", func(a *Asm) { a.Dec(R10) }, "49ffca", ""},
		{"add rdx, -2", func(a *Asm) { a.Add(RDX, -2) }, "4881c2feffffff", "6681c2feffffff"},
		{"cmp rdi, 7", func(a *Asm) { a.Cmp(RDI, 7) }, "4881ff07000000", "6681ff07000000"},
		{"in al, 0x60", func(a *Asm) { a.In(0x60, 1) }, "e460", "e460"},
		{"in ax, 0x60", func(a *Asm) { a.In(0x60, 2) }, "66e560", "e560"},
		{"in eax, 0x60", func(a *Asm) { a.In(0x60, 4) }, "e560", "66e560"},
		{"out 0x42, al", func(a *Asm) { a.Out(0x42, 1) }, "e642", "e642"},
		{"out 0x3f8, al", func(a *Asm) { a.Out(0x3f8, 1) }, "48baf803000000000000ee", "66baf8030000ee"},
		{"out 0xcf8, eax", func(a *Asm) { a.Out(0xcf8, 4) }, "48baf80c000000000000ef", "66baf80c000066ef"},
		{"out 8 bytes", func(a *Asm) { a.Out(0x10, 8) }, "", ""},
		{"rep outsb", func(a *Asm) { a.RepOut(1) }, "f36e", "f36e"},
		{"rep outsw", func(a *Asm) { a.RepOut(2) }, "f3666f", "f36f"},
		{"rep insd", func(a *Asm) { a.RepIn(4) }, "f36d", "f3666d"},
		{"mov al, [rbx+8]", func(a *Asm) { a.Load(1, RAX, RBX, 8) }, "408a8308000000", "678a8308000000"},
		{"mov sil, [rbx]", func(a *Asm) { a.Load(1, RSI, RBX, 0) }, "408ab300000000", ""},
		{"mov cx, [rdi]", func(a *Asm) { a.Load(2, RCX, RDI, 0) }, "66408b8f00000000", "678b8f00000000"},
		{"mov edx, [rsi-4]", func(a *Asm) { a.Load(4, RDX, RSI, -4) }, "408b96fcffffff", "67668b96fcffffff"},
		{"mov r12, [r13+1]", func(a *Asm) { a.Load(8, R12, R13, 1) }, "4d8ba501000000", ""},
		{"mov rax, [rsp+16]", func(a *Asm) { a.Load(8, RAX, RSP, 16) }, "488b842410000000", ""},
		{"mov eax, [r12]", func(a *Asm) { a.Load(4, RAX, R12, 0) }, "418b842400000000", ""},
		{"mov [rdi], cl", func(a *Asm) { a.Store(1, RDI, 0, RCX) }, "40888f00000000", "67888f00000000"},
		{"mov [rdi], rcx", func(a *Asm) { a.Store(8, RDI, 0, RCX) }, "48898f00000000", ""},
		{"mov [rdi], 3 bytes", func(a *Asm) { a.Store(3, RDI, 0, RCX) }, "", ""},
		{"iret", (*Asm).Iret, "48cf", "cf"},
		{"sysretq", (*Asm).Sysret, "480f07", ""},
		{"int 0x80", func(a *Asm) { a.Int(0x80) }, "cd80", "cd80"},
		{"jmp forward", func(a *Asm) { a.Jmp("x"); a.Hlt(); a.Label("x") }, "e901000000f4", "e90100f4"},
		{"jnz back", func(a *Asm) { a.Label("x"); a.Hlt(); a.JNZ("x") }, "f40f85f9ffffff", "f40f85fbff"},
		{"jz self", func(a *Asm) { a.Label("x"); a.JZ("x") }, "0f84faffffff", "0f84fcff"},
		{"jmp nowhere", func(a *Asm) { a.Jmp("x") }, "", ""},
		{"label twice", func(a *Asm) { a.Label("x"); a.Label("x") }, "", ""},
		{"mov rbx, label", func(a *Asm) { a.Hlt(); a.Label("x"); a.MovLabel(RBX, "x") },
			"f448bb0100010000000000", "f466bb01000000"},
	}
	for _, tt := range tests {
		for mode, want := range map[Mode]string{Long: tt.long, Real: tt.real} {
			a := NewAsm(mode)
			tt.emit(a)
			p, err := a.Program()
			if want == "" {
				if err == nil {
					t.Errorf("mode %d: %s = %x, want an error", mode, tt.name, p.code)
				}
				continue
			}
			if err != nil {
				t.Errorf("mode %d: %s: %v", mode, tt.name, err)
			} else if got := fmt.Sprintf("%x", p.code); got != want {
				t.Errorf("mode %d: %s = %s, want %s", mode, tt.name, got, want)
			}
		}
	}
}

func TestAssemblerNamesTheFirstFault(t *testing.T) {
	a := NewAsm(Real)
	a.Nop()
	a.Mov(R8, 1)
	a.Jmp("nowhere")
	_, err := a.Program()
	if err == nil || !strings.Contains(err.Error(), "offset 0x1: register 8 in real mode") {
		t.Errorf("Program() error = %v, want the register at offset 1", err)
	}
}

func TestRealModeJumpTooFar(t *testing.T) {
	a := NewAsm(Real)
	a.Jmp("far")
	a.Raw(make([]byte, 1<<15)...)
	a.Label("far")
	if _, err := a.Program(); err == nil || !strings.Contains(err.Error(), "32768 bytes away") {
		t.Errorf("Program() error = %v, want 32768 bytes away", err)
	}
}
