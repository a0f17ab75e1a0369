package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
)

// template is Go source with holes: each C.NAME in the place of a constant's value or of a type.
type template struct {
	src    []byte
	start  int // offset of the package clause
	consts []hole
	types  []hole
}

type hole struct {
	from, to int    // offsets in src
	goName   string // the constant or type that is declared
	goType   string // of a typed constant
	c        string // the C expression or type
}

func parseTemplate(path string) (*template, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	offset := func(p token.Pos) int { return fset.Position(p).Offset }
	t := &template{src: src, start: offset(file.Package)}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if name := kernelName(n.Values[0]); name != "" {
				h := hole{offset(n.Values[0].Pos()), offset(n.Values[0].End()), n.Names[0].Name, "", name}
				if typ, ok := n.Type.(*ast.Ident); ok {
					h.goType = typ.Name
				}
				t.consts = append(t.consts, h)
			}
		case *ast.TypeSpec:
			if name := kernelName(n.Type); name != "" {
				if tag, isStruct := strings.CutPrefix(name, "struct_"); isStruct {
					name = "struct " + tag
				}
				t.types = append(t.types, hole{offset(n.Type.Pos()), offset(n.Type.End()), n.Name.Name, "", name})
			}
		}
		return true
	})
	return t, nil
}

// kernelName returns NAME of the expression C.NAME, and nothing for any other.
func kernelName(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "C" {
			return s.Sel.Name
		}
	}
	return ""
}

// fill returns the source from its package clause on, each hole filled from the object file.
func (t *template) fill(obj *object) ([]byte, error) {
	text := map[int]string{} // by where the hole starts
	end := map[int]int{}
	for i, h := range t.consts {
		text[h.from], end[h.from] = fmt.Sprintf("%#x", obj.consts[i]), h.to
	}
	goNames := map[string]string{}
	for _, h := range t.types {
		goNames[h.c] = h.goName
	}
	for i, h := range t.types {
		s, err := obj.goStruct(i, goNames)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.c, err)
		}
		text[h.from], end[h.from] = s, h.to
	}
	var b bytes.Buffer
	for i := t.start; i < len(t.src); {
		if s, found := text[i]; found {
			b.WriteString(s)
			i = end[i]
			continue
		}
		b.WriteByte(t.src[i])
		i++
	}
	return b.Bytes(), nil
}

// kernelNames writes one function for each constant type whose values need their kernel names in messages:
// "kvmRun request = C.KVM_RUN" becomes a case that returns "KVM_RUN".
func (t *template) kernelNames(suffix string) string {
	cases := map[string]string{} // by Go type
	for _, h := range t.consts {
		cases[h.goType] += fmt.Sprintf("\tcase %s:\n\t\treturn %q\n", h.goName, h.c)
	}
	var b strings.Builder
	for _, typ := range []string{"request", "Cap", "ExitReason"} {
		if cases[typ] == "" {
			continue
		}
		function := strings.ToLower(typ[:1]) + typ[1:] + "Name" + suffix
		fmt.Fprintf(&b, "\n// %s returns the kernel's name of x, empty when this file has none.\n", function)
		fmt.Fprintf(&b, "func %s(x %s) string {\n\tswitch x {\n%s\t}\n\treturn \"\"\n}\n", function, typ, cases[typ])
	}
	return b.String()
}
