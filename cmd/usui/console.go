package main

import (
	"bytes"
	"io"
	"sync"
)

// tailBytes is how much of a console is kept for the end: a kernel's panic with its registers and stack fits.
const tailBytes = 8 << 10

// tail keeps the end of console output for the case that the machine ends badly.
type tail struct {
	end io.Writer // where show prints

	mu   sync.Mutex
	ring [tailBytes]byte // guarded by mu
	n    int             // bytes written in all; guarded by mu
}

// Write implements io.Writer; it keeps the last tailBytes bytes.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range p {
		t.ring[t.n%tailBytes] = b
		t.n++
	}
	return len(p), nil
}

// show prints what was kept, from the start of a line on.
func (t *tail) show() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []byte
	if t.n > tailBytes {
		kept = append(kept, t.ring[t.n%tailBytes:]...)
		kept = append(kept, t.ring[:t.n%tailBytes]...)
		_, kept, _ = bytes.Cut(kept, []byte("\n"))
	} else {
		kept = append(kept, t.ring[:t.n]...)
	}
	if len(kept) == 0 {
		return
	}
	for i, c := range kept { // a guest's escape sequences are not for the user's terminal
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			kept[i] = ' '
		}
	}
	if kept[len(kept)-1] != '\n' {
		kept = append(kept, '\n')
	}
	// Stderr is the last place to complain; there is none to complain about it.
	_, _ = t.end.Write(kept)
}
