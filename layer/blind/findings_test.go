package blind

import (
	"testing"

	"usui/layer/blind/scan"
)

// imm is an offender in one immediate, or between it and the next instruction.
func imm(crossing bool, value ...byte) scan.Offender {
	o := scan.Offender{Where: scan.Where{First: scan.Imm, Last: scan.Imm}, Parts: []scan.Part{{Field: scan.Imm, Value: value}}}
	if crossing {
		o.Where.Last = scan.Operation
		o.Parts = append(o.Parts, scan.Part{Field: scan.Operation, Value: []byte{0xe9}})
	}
	return o
}

func TestFindings(t *testing.T) {
	f := &findings{}
	if !f.add(imm(false, 0xc3, 0, 0, 0)) {
		t.Error("add: the first field is no news")
	}
	if f.matches([]byte{0xc3, 0, 0, 0}) {
		t.Error("a field counts before its scan is settled")
	}
	f.settle()
	tests := []struct {
		constant string
		want     bool
	}{
		{"\xc3\x00\x00\x00", true},
		{"\xc3\x00\x00\x00\x00\x00\x00\x00", true},  // as 64 bits
		{"\xc3\x00\x00\x00\x01\x00\x00\x00", false}, // another number
		{"\xc2\x00\x00\x00", false},
	}
	for _, tt := range tests {
		if got := f.matches([]byte(tt.constant)); got != tt.want {
			t.Errorf("matches(%x) = %v, want %v", tt.constant, got, tt.want)
		}
	}
	if !f.add(imm(false, 0xc3, 0, 0, 0)) || !f.everything {
		t.Error("a field that comes again does not lead to everything")
	}
	if f.add(imm(false, 0xc3, 0, 0, 0)) || !f.matches([]byte{1}) {
		t.Error("everything is not everything, or never ends")
	}
}

func TestEnginesOwnNumbers(t *testing.T) {
	f := &findings{}
	if none := (*findings)(nil); !f.enginesOwn(imm(false, 0, 0, 0, 0xcf)) || !none.enginesOwn(imm(false, 0xff, 0x1f, 0, 0)) {
		t.Error("a number of wazero's is not known")
	}
	if f.enginesOwn(imm(false, 0, 0, 1, 0xcf)) || f.enginesOwn(imm(true, 0, 0, 0, 0xcf)) {
		t.Error("another number counts as wazero's")
	}
	minus := imm(true, 0xff, 0xff, 0xff, 0xff)
	if f.enginesOwn(minus) || !f.add(minus) {
		t.Error("-1 counts as wazero's before those of the program are blinded")
	}
	f.settle()
	if !f.enginesOwn(minus) || f.everything {
		t.Error("-1 does not count as wazero's when it comes again")
	}
	if !(&findings{everything: true}).enginesOwn(minus) {
		t.Error("-1 does not count as wazero's where each constant is blinded")
	}
}

// TestManyFindings: what is kept of one function is bounded, and so is the time that it takes.
func TestManyFindings(t *testing.T) {
	f := &findings{}
	for i := range maxFields {
		if !f.add(imm(true, byte(i), 0xc3, 0, 0)) || f.add(imm(true, byte(i), 0xc3, 0, 0)) {
			t.Fatal("add: a field is no news, or news twice in one scan")
		}
	}
	if f.everything || !f.add(imm(true, 0xff, 0xc3, 0, 0)) || !f.everything || len(f.fresh) != maxFields {
		t.Errorf("one field more than %d does not lead to everything", maxFields)
	}
}
