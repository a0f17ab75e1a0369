package archtest

import (
	"go/ast"
	"path"
	"strings"
	"unicode"
)

// checkCode applies the rules that look into a file's declarations and comments.
func (c *checker) checkCode(name string, f *ast.File) {
	generated := ast.IsGenerated(f)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil {
			continue
		}
		if fn.Name.Name == "init" && !generated {
			c.report(fn.Pos(), "func init: wiring is explicit, in constructors and in cmd/")
		}
		if strings.HasSuffix(name, "_test.go") {
			c.tests = append(c.tests, path.Dir(name)+" "+fn.Name.Name)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		call := x.Name + "." + sel.Sel.Name
		if rule, ok := forbiddenCalls[call]; ok && !rule.place.allows(name) && !(rule.programs && f.Name.Name == "main") {
			c.report(sel.Pos(), "%s: %s", call, rule.why)
		}
		return true
	})
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if mark := unfinished(comment.Text); mark != "" && !generated {
				c.report(comment.Pos(), "comment with %s: do it or leave it", mark)
			}
		}
	}
}

// unfinished returns the word by which a comment admits that something is left to do.
func unfinished(comment string) string {
	for word := range strings.FieldsFuncSeq(comment, func(r rune) bool { return !unicode.IsLetter(r) && r != '_' }) {
		if word == "TODO" || word == "FIXME" {
			return word
		}
	}
	return ""
}
