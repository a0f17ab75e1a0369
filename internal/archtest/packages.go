package archtest

import (
	"maps"
	"slices"
	"strings"
)

// checkPackages applies the rules on package comments. A program may hold its own in main.go and needs no
// sections.
func (c *checker) checkPackages() {
	for _, dir := range slices.Sorted(maps.Keys(c.packages)) {
		p := c.packages[dir]
		say := func(text string) { c.problems = append(c.problems, dir+": "+text) }
		program := p.name == "main"
		switch {
		case len(p.comments) == 0:
			say("no package comment: go doc would show nothing")
			continue
		case len(p.comments) > 1:
			say("package comments in " + strings.Join(p.comments, " and ") + ": there is exactly one")
		case p.comments[0] != "doc.go" && !(program && p.comments[0] == "main.go"):
			say("package comment in " + p.comments[0] + ": it is in doc.go")
		}
		if program {
			continue
		}
		lines := strings.Split(p.text, "\n")
		for _, s := range sections {
			if !slices.Contains(lines, s) {
				say("package comment lacks the section " + s)
			}
		}
	}
}

// checkModules compares the modules that go.mod requires directly with the list of owners.
func (c *checker) checkModules(gomod string) {
	required := directModules(gomod)
	for _, m := range required {
		if _, ok := owners[m]; !ok {
			c.problems = append(c.problems, "go.mod: requires "+m+", which has no owner in the list")
		}
	}
	for _, m := range slices.Sorted(maps.Keys(owners)) {
		if !slices.Contains(required, m) {
			c.problems = append(c.problems, "go.mod: does not require "+m+", which the list of owners names")
		}
	}
}

// directModules returns the modules that go.mod requires without "// indirect", and those of its tools.
func directModules(gomod string) []string {
	var modules, tools []string
	block := ""
	for line := range strings.Lines(gomod) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case line == ")":
			block = ""
			continue
		case block != "" && len(words) > 0:
			words = append([]string{block}, words...)
		}
		switch {
		case len(words) >= 3 && words[0] == "require" && !strings.HasSuffix(line, "// indirect"):
			modules = append(modules, words[1])
		case len(words) == 2 && words[0] == "tool":
			tools = append(tools, words[1])
		}
	}
	for _, t := range tools { // go mod tidy marks a module that is only a tool's as indirect
		if m := ownerOf(t); m != "" && !slices.Contains(modules, m) {
			modules = append(modules, m)
		} else if m == "" {
			modules = append(modules, t)
		}
	}
	return modules
}
