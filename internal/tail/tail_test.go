package tail

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

const size = 1 << 10

func TestTailKeepsWholeLines(t *testing.T) {
	var also bytes.Buffer
	kept := New(size, &also)
	for i := range 1000 {
		fmt.Fprintf(kept, "line %d\n", i)
	}
	got := kept.String()
	if !strings.HasPrefix(got, "line ") || !strings.HasSuffix(got, "\nline 999") || len(got) > size || len(got) < size/2 {
		t.Errorf("tail of %d bytes: %.30q ... %q", len(got), got, got[max(0, len(got)-20):])
	}
	if n := strings.Count(also.String(), "\n"); n != 1000 {
		t.Errorf("the copy has %d lines, want 1000", n)
	}
}

// TestTailOfAnyPieces writes the same bytes in pieces of many sizes, a byte and more than all included: the end is the same.
func TestTailOfAnyPieces(t *testing.T) {
	text := strings.Repeat("a word and another\n", 1000)
	for _, piece := range []int{1, 7, size - 1, size, size + 1, 2 * size, 2*size + 1, len(text)} {
		kept := New(size, nil)
		for rest := text; rest != ""; rest = rest[min(piece, len(rest)):] {
			fmt.Fprint(kept, rest[:min(piece, len(rest))])
			if len(kept.kept) > 2*size {
				t.Fatalf("in pieces of %d: it holds %d bytes, want at most %d", piece, len(kept.kept), 2*size)
			}
		}
		whole := size / 19 * 19
		if want := strings.TrimSpace(text[len(text)-whole:]); kept.String() != want {
			t.Errorf("in pieces of %d: %d bytes, want %d", piece, len(kept.String()), len(want))
		}
	}
}

func TestTailOfOneEndlessLine(t *testing.T) {
	kept := New(size, nil)
	fmt.Fprint(kept, strings.Repeat("x", 10*size))
	if n := len(kept.String()); n != size {
		t.Errorf("%d bytes of a line without an end, want %d", n, size)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[2J\x1b[1;1Hhello\x1b[0m\r\nworld\x1bc": "hello\nworld",
		"\x1b":                 "",
		"\x1b[":                "",
		"a\x00b\x07\x9b\u009b": "ab?",
		"tab\tü":               "tab\tü",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("\x1b[2Ja\nb"), 3)
	f.Add(bytes.Repeat([]byte("\x1b["), size), 1)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		kept := New(size, nil)
		for piece = max(1, piece); len(text) > 0; text = text[min(piece, len(text)):] {
			_, _ = kept.Write(text[:min(piece, len(text))])
		}
		for _, r := range kept.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%q could steer a terminal", r)
			}
		}
	})
}
