package pid1_test

import (
	"strings"
	"testing"

	"usui/internal/attach"
)

func TestExitStatusAndStreams(t *testing.T) {
	tests := []struct {
		script         string
		status         int
		stdout, stderr string
	}{
		{"exit 0", 0, "", ""},
		{"echo out; echo err >&2; exit 7", 7, "out\n", "err\n"},
		{"kill -TERM $$", 143, "", ""},
		{"cat", 0, "typed", ""},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			r := run(t, sh(tt.script), attach.Stdio{Stdin: strings.NewReader("typed")})
			if r.err != nil || r.status != tt.status || r.stdout != tt.stdout || r.stderr != tt.stderr {
				t.Errorf("Run(%q) = %+v, want %+v", tt.script, r, tt)
			}
		})
	}
}
