package where

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a text of an environment in bytes; the longest known, of spectre_v2, has some 200.
const maxText = 512

// Plain says that s can be shown as it is: one line of printable characters, at most limit bytes.
func Plain(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// plain makes of any text one that is [Plain]: white space becomes one space, other characters a question mark.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") // the cut may split a character
	}
	return s
}
