package main

import (
	"fmt"
	"io"
	"strings"

	"usui/internal/tail"
	"usui/machine/vmm"
)

// consoleBytes is how much of a console is kept for the end: a kernel's panic with its registers and stack fits.
const consoleBytes = 8 << 10

// lastWords is the end of a guest's console, for the case that the machine ends badly.
type lastWords struct {
	*tail.Tail
	end io.Writer // where show prints
}

// show prints what was kept, if anything was.
func (w *lastWords) show() {
	if w == nil {
		return
	}
	if text := w.String(); text != "" {
		// Stderr is the last place to complain; there is none to complain about it.
		fmt.Fprintln(w.end, text)
	}
}

// cause tells a panic that nobody told the monitor of: drivers of pvpanic are often modules, and a kernel that panics before it has
// them only resets.
func (w *lastWords) cause(told vmm.Cause) vmm.Cause {
	if told == vmm.Reset && strings.Contains(w.String(), "Kernel panic - not syncing") {
		return vmm.Panic
	}
	return told
}
