package acpi

import (
	"fmt"
	"strings"
	"testing"
)

// namespace prints the terms of a definition block, one line each. It knows what this package writes and no more: any other
// byte fails the test.
func namespace(t *testing.T, aml []byte) string {
	t.Helper()
	var out strings.Builder
	walk(t, &out, aml, "")
	return out.String()
}

func walk(t *testing.T, out *strings.Builder, b []byte, indent string) {
	t.Helper()
	for len(b) > 0 {
		switch {
		case b[0] == 0x08: // NameOp
			value, rest := object(t, b[5:])
			fmt.Fprintf(out, "%sName %s %s\n", indent, b[1:5], value)
			b = rest
		case b[0] == 0x10: // ScopeOp
			b = block(t, out, "Scope", b[1:], indent)
		case b[0] == 0x5b && b[1] == 0x82: // DeviceOp
			b = block(t, out, "Device", b[2:], indent)
		case b[0] == 0x14: // MethodOp
			n, used := packageLength(b[1:])
			fmt.Fprintf(out, "%sMethod %s %x: %s\n", indent, b[1+used:5+used], b[5+used], statements(t, b[6+used:1+n]))
			b = b[1+n:]
		case b[0] == 0x5b && b[1] == 0x80: // OpRegionOp
			start, rest := object(t, b[7:])
			size, rest := object(t, rest)
			fmt.Fprintf(out, "%sRegion %s space %x %s +%s\n", indent, b[2:6], b[6], start, size)
			b = rest
		case b[0] == 0x5b && b[1] == 0x81: // FieldOp
			n, used := packageLength(b[2:])
			fmt.Fprintf(out, "%sField of %s flags %x:", indent, b[2+used:6+used], b[6+used])
			for list := b[7+used : 2+n]; len(list) > 0; {
				bits, used := packageLength(list[4:])
				fmt.Fprintf(out, " %s %d", list[:4], bits)
				list = list[4+used:]
			}
			fmt.Fprintln(out)
			b = b[2+n:]
		default:
			t.Fatalf("unexpected AML % x", b[:min(len(b), 16)])
		}
	}
}

// block prints a named block, b beginning at its length, and returns what follows.
func block(t *testing.T, out *strings.Builder, kind string, b []byte, indent string) []byte {
	t.Helper()
	n, used := packageLength(b)
	fmt.Fprintf(out, "%s%s %s\n", indent, kind, b[used:used+4])
	walk(t, out, b[used+4:n], indent+"  ")
	return b[n:]
}

// statements prints the body of a method.
func statements(t *testing.T, b []byte) string {
	t.Helper()
	var list []string
	for len(b) > 0 {
		var text string
		switch b[0] {
		case 0x70: // StoreOp
			value, rest := value(t, b[1:])
			text, b = fmt.Sprintf("%s = %s", rest[:4], value), rest[4:]
		case 0x86: // NotifyOp
			value, rest := value(t, b[5:])
			text, b = fmt.Sprintf("Notify %s %s", b[1:5], value), rest
		case 0xa0: // IfOp
			n, used := packageLength(b[1:])
			condition, rest := value(t, b[1+used:1+n])
			text, b = fmt.Sprintf("if %s { %s }", condition, statements(t, rest)), b[1+n:]
		default: // a call: of TELL with two arguments, or of PLUG
			path := 4
			if b[0] == '^' {
				path = 11
			}
			text, b = string(b[:path]), b[path:]
			for text == "TELL" && len(b) > 0 {
				var first, second string
				first, b = value(t, b)
				second, b = value(t, b)
				text = fmt.Sprintf("TELL %s %s", first, second)
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// value reads what stands for a number.
func value(t *testing.T, b []byte) (string, []byte) {
	t.Helper()
	binary := map[byte]string{0x7b: "&", 0x93: "=="}
	switch {
	case b[0] == 0x68 || b[0] == 0x69:
		return fmt.Sprintf("Arg%d", b[0]-0x68), b[1:]
	case binary[b[0]] != "":
		x, rest := value(t, b[1:])
		y, rest := value(t, rest)
		if b[0] == 0x7b {
			if rest[0] != 0 {
				t.Errorf("the result of And is stored: % x", rest[:4])
			}
			rest = rest[1:]
		}
		return fmt.Sprintf("%s %s %s", x, binary[b[0]], y), rest
	case b[0] >= 'A' && b[0] <= 'Z':
		return string(b[:4]), b[4:]
	}
	return object(t, b)
}

// object reads a constant, package or resource buffer.
func object(t *testing.T, b []byte) (string, []byte) {
	t.Helper()
	switch b[0] {
	case 0x00, 0x01:
		return fmt.Sprint(b[0]), b[1:]
	case 0x0a:
		return fmt.Sprintf("%x", b[1]), b[2:]
	case 0x0b:
		return fmt.Sprintf("%x", le.Uint16(b[1:])), b[3:]
	case 0x0c:
		if b[1] == 0x41 && b[2] == 0xd0 { // a compressed EISA id that begins with PNP
			return decodeEisaID(b[1:5]), b[5:]
		}
		return fmt.Sprintf("%x", le.Uint32(b[1:])), b[5:]
	case 0x0d:
		s, _, _ := strings.Cut(string(b[1:]), "\x00")
		return fmt.Sprintf("%q", s), b[len(s)+2:]
	case 0x12:
		n, used := packageLength(b[1:])
		rest := b[1+used+1 : 1+n]
		var elements []string
		for len(rest) > 0 {
			var e string
			e, rest = object(t, rest)
			elements = append(elements, e)
		}
		if len(elements) != int(b[1+used]) {
			t.Errorf("a package of %d holds %v", b[1+used], elements)
		}
		return "{" + strings.Join(elements, " ") + "}", b[1+n:]
	case 0x11:
		n, used := packageLength(b[1:])
		size, rest := object(t, b[1+used:1+n])
		if size != fmt.Sprintf("%x", len(rest)) {
			t.Errorf("a buffer of %s holds %x bytes", size, len(rest))
		}
		return template(t, rest), b[1+n:]
	}
	t.Fatalf("unexpected object % x", b[:min(len(b), 16)])
	return "", nil
}

// template prints resource descriptors.
func template(t *testing.T, b []byte) string {
	t.Helper()
	var list []string
	for b[0] != 0x79 {
		n := 3
		if b[0]&0x80 == 0 {
			n = 1 + int(b[0]&7)
		} else {
			n += int(le.Uint16(b[1:]))
		}
		list = append(list, descriptor(t, b[:n]))
		b = b[n:]
	}
	if len(b) != 2 || b[1] != 0 {
		t.Errorf("end tag % x", b)
	}
	return strings.Join(list, " ")
}

func descriptor(t *testing.T, d []byte) string {
	t.Helper()
	u16 := func(off int) uint64 { return uint64(le.Uint16(d[off:])) }
	u32 := func(off int) uint64 { return uint64(le.Uint32(d[off:])) }
	u64 := func(off int) uint64 { return le.Uint64(d[off:]) }
	address := func(kind string, width int, read func(int) uint64) string {
		if read(6) != 0 || len(d) != 6+5*width {
			t.Errorf("address descriptor % x: granularity or length", d)
		}
		return fmt.Sprintf("[%s %x-%x +%x len %x flags %x]", kind, read(6+width), read(6+2*width), read(6+3*width), read(6+4*width), d[4])
	}
	switch {
	case d[0] == 0x47 && d[1] == 1 && len(d) == 8:
		return fmt.Sprintf("[io %x-%x align %x len %x]", u16(2), u16(4), d[6], d[7])
	case d[0] == 0x89 && len(d) == 9 && d[4] == 1:
		return fmt.Sprintf("[irq flags %x %x]", d[3], u32(5))
	case d[0] == 0x86 && len(d) == 12:
		return fmt.Sprintf("[fixed %x len %x rw %x]", u32(4), u32(8), d[3])
	case d[0] == 0x88 && d[3] == 2 && d[5] == 0:
		return address("bus", 2, u16)
	case d[0] == 0x87 && d[3] == 0 && d[5] == 1:
		return address("mem32", 4, u32)
	case d[0] == 0x8a && d[3] == 0 && d[5] == 1:
		return address("mem64", 8, u64)
	}
	t.Fatalf("unexpected descriptor % x", d)
	return ""
}
