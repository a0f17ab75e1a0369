package main

import (
	"debug/dwarf"
	"fmt"
	"strings"
)

// goStruct writes type number i of the template as a Go structure. goNames gives the Go names of C types.
func (o *object) goStruct(i int, goNames map[string]string) (string, error) {
	typ := o.types[i]
	for {
		def, ok := typ.(*dwarf.TypedefType)
		if !ok {
			break
		}
		typ = def.Type
	}
	s, ok := typ.(*dwarf.StructType)
	if !ok || s.Kind != "struct" {
		return "", fmt.Errorf("%s is no structure", typ)
	}
	text, _, err := structBody(s, goNames)
	return text, err
}

// structBody writes a structure and returns its alignment in Go. It fails when Go would lay it out in another way.
func structBody(s *dwarf.StructType, goNames map[string]string) (string, int64, error) {
	var b strings.Builder
	b.WriteString("struct {\n")
	at, align := int64(0), int64(1) // where Go has arrived, and its alignment so far
	for _, f := range s.Field {
		name, typ := f.Name, f.Type
		if typ.Size() <= 0 {
			continue // a flexible array
		}
		if name == "" {
			var err error
			if name, typ, err = unionMember(f.Type); err != nil {
				return "", 0, err
			}
		}
		text, a, err := goType(typ, goNames)
		if err != nil {
			return "", 0, fmt.Errorf("%s: %w", name, err)
		}
		at = pad(&b, at, a, f.ByteOffset)
		if at != f.ByteOffset {
			return "", 0, fmt.Errorf("%s lies at %d in C and at %d in Go", name, f.ByteOffset, at)
		}
		fmt.Fprintf(&b, "\t%s %s\n", camel(name), text)
		at, align = at+typ.Size(), max(align, a)
	}
	at = pad(&b, at, align, s.ByteSize)
	if at != s.ByteSize {
		return "", 0, fmt.Errorf("%s has %d bytes in C and %d in Go", s.StructName, s.ByteSize, at)
	}
	b.WriteString("}")
	return b.String(), align, nil
}

// pad returns where Go goes on after at with a field of the given alignment; it writes a blank field when C goes
// on later than that.
func pad(b *strings.Builder, at, align, want int64) int64 {
	natural := (at + align - 1) / align * align
	if natural >= want {
		return natural
	}
	fmt.Fprintf(b, "\t_ [%d]byte\n", want-at)
	return want
}

// unionMember chooses the member that stands for an unnamed union: the largest, and of equals the first that is
// no padding. When that is a structure, no member speaks for the others, and the union becomes words named Union.
func unionMember(t dwarf.Type) (string, dwarf.Type, error) {
	u, ok := t.(*dwarf.StructType)
	if !ok || u.Kind != "union" {
		return "", nil, fmt.Errorf("unnamed member %s is no union", t)
	}
	var best *dwarf.StructField
	for _, f := range u.Field {
		if best == nil || f.Type.Size() > best.Type.Size() ||
			f.Type.Size() == best.Type.Size() && strings.HasPrefix(best.Name, "pad") {
			best = f
		}
	}
	if _, ok := best.Type.(*dwarf.StructType); ok {
		return "union", u, nil
	}
	return best.Name, best.Type, nil
}

// goType returns the Go spelling of a C type, and its alignment in Go.
func goType(t dwarf.Type, goNames map[string]string) (string, int64, error) {
	switch t := t.(type) {
	case *dwarf.TypedefType:
		return goType(t.Type, goNames)
	case *dwarf.UcharType, *dwarf.CharType:
		return "uint8", 1, nil
	case *dwarf.UintType:
		return fmt.Sprintf("uint%d", 8*t.ByteSize), t.ByteSize, nil
	case *dwarf.IntType:
		return fmt.Sprintf("int%d", 8*t.ByteSize), t.ByteSize, nil
	case *dwarf.PtrType:
		return "*byte", 8, nil
	case *dwarf.ArrayType:
		elem, align, err := goType(t.Type, goNames)
		return fmt.Sprintf("[%d]%s", t.Count, elem), align, err
	case *dwarf.StructType:
		if t.Kind == "union" {
			return unionWords(t)
		}
		text, align, err := structBody(t, goNames)
		if name := goNames["struct "+t.StructName]; name != "" {
			text = name
		}
		return text, align, err
	}
	return "", 0, fmt.Errorf("no Go type for %s", t)
}

// unionWords gives a named union as an array of the largest words that its size allows.
func unionWords(u *dwarf.StructType) (string, int64, error) {
	for word := int64(8); word > 0; word /= 2 {
		if u.ByteSize%word == 0 {
			return fmt.Sprintf("[%d]uint%d", u.ByteSize/word, 8*word), word, nil
		}
	}
	return "", 0, fmt.Errorf("empty union %s", u.StructName)
}

// camel turns apic_base into ApicBase.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}
