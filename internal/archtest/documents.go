package archtest

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Names in documents that must be true.
var (
	// testName matches `FOLDER TestName` in SPECIFICATION.md.
	testName = regexp.MustCompile("`([a-z0-9_/]+) ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	// folderName matches the names in the first column of ARCHITECTURE.md's code map, as in "`machine/virtio/blk`, `console`".
	folderName = regexp.MustCompile("`([a-z0-9_/-]+)`")
)

// architectureLines bounds ARCHITECTURE.md: what is longer is not read.
const architectureLines = 150

// checkDocuments compares what documents say about the code with the code.
func (c *checker) checkDocuments(tree fs.FS) error {
	specification, err := fs.ReadFile(tree, "SPECIFICATION.md")
	if err != nil {
		return err
	}
	for _, m := range testName.FindAllStringSubmatch(string(specification), -1) {
		if !slices.Contains(c.tests, m[1]+" "+m[2]) {
			c.problems = append(c.problems, "SPECIFICATION.md: there is no "+m[2]+" in "+m[1])
		}
	}
	architecture, err := fs.ReadFile(tree, "ARCHITECTURE.md")
	if err != nil {
		return err
	}
	if n := strings.Count(string(architecture), "\n"); n > architectureLines {
		c.problems = append(c.problems, fmt.Sprintf("ARCHITECTURE.md: %d lines, at most %d are read", n, architectureLines))
	}
	c.checkCodeMap(codeMap(string(architecture)))
	return nil
}

// codeMap returns the folders that the table under "Code map" names.
func codeMap(text string) []string {
	_, text, _ = strings.Cut(text, "## Code map")
	text, _, _ = strings.Cut(text, "\n## ")
	var folders []string
	for line := range strings.Lines(text) {
		cells := strings.SplitN(line, "|", 3)
		if len(cells) < 3 {
			continue
		}
		last := ""
		for _, m := range folderName.FindAllStringSubmatch(cells[1], -1) {
			name := m[1]
			if !strings.Contains(name, "/") { // a sibling of the one before
				name = path.Join(path.Dir(last), name)
			}
			folders, last = append(folders, name), name
		}
	}
	return folders
}

// checkCodeMap wants every folder of the map to hold a package, and every package to be below one of them.
func (c *checker) checkCodeMap(folders []string) {
	for _, f := range folders {
		if c.packages[f] == nil {
			c.problems = append(c.problems, "ARCHITECTURE.md: the code map names "+f+", which is no package")
		}
	}
	for dir := range c.packages {
		if !slices.ContainsFunc(folders, func(f string) bool { return dir == f || strings.HasPrefix(dir, f+"/") }) {
			c.problems = append(c.problems, "ARCHITECTURE.md: the code map lacks "+dir)
		}
	}
}
