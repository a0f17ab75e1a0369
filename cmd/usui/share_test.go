package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usui/internal/lab"
)

func TestParseShare(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "a:b,c")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]share{
		dir:                     {dir, filepath.Base(dir), false},
		dir + ",ro":             {dir, filepath.Base(dir), true},
		dir + "/:x":             {dir, "x", false},
		dir + ":x,ro":           {dir, "x", true},
		odd:                     {odd, "a:b,c", false},
		odd + "/:tag,ro":        {odd, "tag", true},
		"/":                     {"/", "root", false},
		"/,ro":                  {"/", "root", true},
		"//:all":                {"/", "all", false},
		"/no/such/folder":       {"/no/such/folder", "folder", false},
		"/no/such/folder:t":     {"/no/such/folder", "t", false},
		"/no/such/folder:a,b":   {"/no/such/folder", "a,b", false},
		"/no/such:folder:t,ro":  {"/no/such:folder", "t", true},
		"/no/such/folder/..":    {"/no/such", "such", false},
		"/no/such/folder:ro,ro": {"/no/such/folder", "ro", true},
	} {
		got, err := parseShare(text)
		if err != nil || got != want {
			t.Errorf("parseShare(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		p := sharePart{[]share{want}}
		if again, err := parseShare(p.argv()[1]); err != nil || again != want && want.tag != "a:b,c" {
			t.Errorf("parseShare(%q), the same for a lab, = %+v, %v, want %+v", p.argv()[1], again, err, want)
		}
	}
}

// In a lab a writable folder would be a promise that nobody keeps: the user hears of it.
func TestALabSaysWhatItCannotShare(t *testing.T) {
	var said strings.Builder
	p := sharePart{[]share{{"/src", "src", false}, {"/usr", "usr", true}}}
	if err := p.prepareLab(&lab.Config{Progress: &said}); err != nil {
		t.Fatal(err)
	}
	if got := said.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "--share /src: ") {
		t.Errorf("the user hears %q, want one line on the writable folder", got)
	}
}
