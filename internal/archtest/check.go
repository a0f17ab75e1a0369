package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// check returns what is wrong in the repository that tree holds, one line each, in the order of the files.
func check(tree fs.FS) ([]string, error) {
	c := &checker{files: token.NewFileSet(), packages: map[string]*pkg{}}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "bin" || base == "results") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(c.files, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		c.file(name, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.checkPackages()
	gomod, err := fs.ReadFile(tree, "go.mod")
	if err != nil {
		return nil, err
	}
	c.checkModules(string(gomod))
	if err := c.checkDocuments(tree); err != nil {
		return nil, err
	}
	return c.problems, nil
}

type checker struct {
	files    *token.FileSet
	packages map[string]*pkg // by folder
	tests    []string        // "FOLDER TestName" of all test functions
	problems []string
}

// pkg is what is known of a folder's non-test files.
type pkg struct {
	name     string
	comments []string // files with a package comment
	text     string   // of the last one
}

func (c *checker) report(pos token.Pos, format string, a ...any) {
	p := c.files.Position(pos)
	c.problems = append(c.problems, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, a...)))
}

// file applies the rules that look at one file.
func (c *checker) file(name string, f *ast.File) {
	dir, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	if _, ok := mayImport[stratum(name)]; !ok {
		c.report(f.Package, "Go files live below cmd, layer, machine, host or internal")
	}
	if !test && !ignored(f) {
		p := c.packages[dir]
		if p == nil {
			p = &pkg{name: f.Name.Name}
			c.packages[dir] = p
		}
		if f.Doc != nil && !ast.IsGenerated(f) {
			p.comments, p.text = append(p.comments, path.Base(name)), f.Doc.Text()
		}
	}
	if slices.Contains(emptyNames, f.Name.Name) {
		c.report(f.Name.Pos(), "package name %s says nothing: name what is in it", f.Name.Name)
	}
	for _, imp := range f.Imports {
		if target, err := strconv.Unquote(imp.Path.Value); err == nil {
			c.checkImport(name, f, imp.Pos(), target)
		}
	}
	c.checkCode(name, f)
}

// ignored says that no build takes the file: it is read by a program, such as a generator.
func ignored(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if comment.Pos() < f.Package && comment.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

// stratum returns the top folder of a path.
func stratum(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// layerOf returns "layer/NAME" for what lies in a layer, else "".
func layerOf(name string) string {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) < 2 || parts[0] != "layer" {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

func (c *checker) checkImport(file string, f *ast.File, pos token.Pos, target string) {
	if rule, ok := knownTo[target]; ok && !rule.place.allows(file) && !(rule.programs && f.Name.Name == "main") {
		c.report(pos, "import of %s: only %s may", target, rule.place)
	}
	if rest, ours := strings.CutPrefix(target, module+"/"); ours {
		own := layerOf(rest) != "" && layerOf(rest) == layerOf(file)
		if !own && !slices.Contains(mayImport[stratum(file)], stratum(rest)) {
			c.report(pos, "import of %s: %s may import %s", target, stratum(file), strings.Join(mayImport[stratum(file)], ", "))
		}
		return
	}
	if !strings.Contains(stratum(target), ".") {
		return // the standard library
	}
	owner := ownerOf(target)
	if owner == "" {
		c.report(pos, "import of %s: no outside module of the list holds it", target)
	} else if !owners[owner].allows(file) {
		c.report(pos, "import of %s: only %s may", target, owners[owner])
	}
}

// ownerOf returns the listed module that holds a package, or "".
func ownerOf(target string) string {
	for m := range owners {
		if target == m || strings.HasPrefix(target, m+"/") {
			return m
		}
	}
	return ""
}

// String describes the place in a message.
func (p place) String() string {
	var where []string
	for _, f := range p.folders {
		where = append(where, f+"/")
	}
	for _, s := range p.suffixes {
		where = append(where, "files named *"+s)
	}
	if len(where) == 0 {
		return "nobody"
	}
	return strings.Join(where, ", ")
}
