package where

import (
	"strings"
	"unicode"
)

// maxText bounds a text in bytes; the longest of an environment, of spectre_v2, has some 200.
const maxText = 512

// Plain makes of any text one that can be shown as it is: one line of printable characters, at most 512 bytes.
// White space becomes one space, other characters a question mark. A plain text stays as it is.
func Plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if len(s) > maxText {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:maxText], "")) // the cut may split a character
	}
	return s
}
