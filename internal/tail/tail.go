package tail

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"unicode"
)

// Tail keeps the end of what is written to it. Its methods may be called from any goroutine.
type Tail struct {
	size int
	also io.Writer

	mu   sync.Mutex
	kept []byte // guarded by mu
	cut  bool   // guarded by mu; something was dropped
}

// New returns a tail of size bytes. also, unless it is nil, gets everything too; that it cannot be written stops nothing.
func New(size int, also io.Writer) *Tail { return &Tail{size: size, also: also} }

// Write implements [io.Writer]; it never fails.
func (t *Tail) Write(p []byte) (int, error) {
	if t.also != nil {
		_, _ = t.also.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	last := p[max(0, len(p)-t.size):]
	if len(t.kept)+len(last) > 2*t.size { // now and then, so that a byte costs no copy of all
		t.kept = t.kept[:copy(t.kept, t.kept[len(t.kept)-t.size:])]
		t.cut = true
	}
	t.kept = append(t.kept, last...)
	t.cut = t.cut || len(last) < len(p)
	return len(p), nil
}

// String is the end of what was written, without a line that lost its beginning, without control characters and escape
// sequences, and without space around it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept[max(0, len(t.kept)-t.size):]
	if t.cut || len(kept) < len(t.kept) {
		if _, lines, found := bytes.Cut(kept, []byte("\n")); found {
			kept = lines
		}
	}
	return strings.TrimSpace(plain(string(kept)))
}

// plain drops escape sequences, which firmware writes, and all else that a terminal does not simply show.
func plain(s string) string {
	var b strings.Builder
	text := []rune(strings.ToValidUTF8(s, "?"))
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case r == 0x1b:
			i = escapeEnd(text, i)
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeEnd returns the index of the last character of the escape sequence that starts at i: "ESC [ parameters letter", or ESC and
// one character.
func escapeEnd(text []rune, i int) int {
	if i+1 >= len(text) || text[i+1] != '[' {
		return i + 1
	}
	for i += 2; i < len(text) && text[i] >= 0x20 && text[i] < 0x40; i++ {
	}
	return i
}
