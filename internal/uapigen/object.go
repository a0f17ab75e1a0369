package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// object is what gcc knows about the C names of a template.
type object struct {
	consts []uint64
	types  []dwarf.Type
}

// compile lets gcc evaluate the constants into a section of their own and describe a variable of each type.
func compile(h headers, arch string, t *template, header, tmp string) (*object, error) {
	var c strings.Builder
	fmt.Fprintf(&c, "#include %q\n", absolute(header))
	c.WriteString("__attribute__((section(\"consts\"))) const unsigned long long values[] = {\n")
	for _, hole := range t.consts {
		fmt.Fprintf(&c, "\t%s,\n", hole.c)
	}
	c.WriteString("};\n")
	for i, hole := range t.types {
		fmt.Fprintf(&c, "%s type%d;\n", hole.c, i)
	}
	src, obj := filepath.Join(tmp, "defs.c"), filepath.Join(tmp, "defs.o")
	if err := os.WriteFile(src, []byte(c.String()), 0o644); err != nil {
		return nil, err
	}
	flags, err := h.includes(arch, tmp)
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command("gcc", append(flags, "-g", "-c", "-o", obj, src)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return readObject(obj, len(t.consts), len(t.types))
}

func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path // gcc says that it is missing
}

func readObject(path string, consts, types int) (*object, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section("consts")
	if section == nil {
		return nil, fmt.Errorf("%s has no section consts", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	o := &object{consts: make([]uint64, consts), types: make([]dwarf.Type, types)}
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, o.consts); err != nil {
		return nil, err
	}
	dw, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	for r := dw.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			return o, err
		}
		var i int
		name, _ := e.Val(dwarf.AttrName).(string)
		if n, _ := fmt.Sscanf(name, "type%d", &i); e.Tag != dwarf.TagVariable || n != 1 {
			continue
		}
		if o.types[i], err = dw.Type(e.Val(dwarf.AttrType).(dwarf.Offset)); err != nil {
			return nil, err
		}
	}
}
