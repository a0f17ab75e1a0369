package survey

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// folder finds names in one folder that are one where case or the form of Unicode does not count. It is for one goroutine.
type folder struct {
	fold  cases.Caser
	first map[string]string // the first name of each that are one
}

func newFolder() *folder { return &folder{cases.Fold(), map[string]string{}} }

// begin begins another folder.
func (f *folder) begin() { f.first = map[string]string{} } // a map that was large stays so

// collision says which name before it a name is one with, and whether that takes no more than Unicode's forms; "" for none.
func (f *folder) collision(name string) (with string, form bool) {
	key := f.key(name)
	with, ok := f.first[key]
	if !ok {
		f.first[key] = name
		return "", false
	}
	return with, norm.NFC.String(with) == norm.NFC.String(name)
}

// key is the same for names that are one.
func (f *folder) key(name string) string {
	if isASCII(name) {
		return strings.ToLower(name)
	}
	if !utf8.ValidString(name) {
		return name
	}
	return norm.NFC.String(f.fold.String(norm.NFC.String(name)))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// illegal says why a name cannot be used from Windows or over SMB, "" if it can ("Naming Files, Paths, and Namespaces" of Microsoft's documentation).
func illegal(name string) string {
	for i := range len(name) {
		if c := name[i]; c < ' ' || strings.IndexByte(`<>:"|?*\`, c) >= 0 {
			return "a character"
		}
	}
	if last := name[len(name)-1]; last == '.' || last == ' ' {
		return "its end"
	}
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base = strings.TrimRight(base, " "); {
	case base == "CON", base == "PRN", base == "AUX", base == "NUL":
		return "a reserved word"
	case len(base) == 4 && (strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")) && base[3] >= '1' && base[3] <= '9':
		return "a reserved word"
	}
	return ""
}
