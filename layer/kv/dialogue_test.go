package kv

import (
	"regexp"
	"strings"
	"testing"
)

// clientNumber is the number of a client in HELLO's reply.
var clientNumber = regexp.MustCompile("id\r\n:[0-9]+")

// dialogue has several clients talk with Redis and with a server of ours, and compares the replies byte by byte. A line "a: get k" is a command
// of client a; "a<" reads one more reply of a, such as a message that was published. Words are split at spaces; "" is an empty word.
func dialogue(t *testing.T, lines string) {
	t.Helper()
	compare(t, redis(t), serve(t), lines)
}

func compare(t *testing.T, theirs, ours, lines string) {
	t.Helper()
	type pair struct{ theirs, ours *peer }
	clients := map[string]pair{}
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		line = strings.TrimSpace(line)
		name, rest := line[:1], strings.TrimSpace(line[2:])
		p, ok := clients[name]
		if !ok {
			p = pair{connect(t, theirs), connect(t, ours)}
			clients[name] = p
		}
		talk := func(p *peer) (string, error) {
			if line[1] == '<' {
				return p.reply()
			}
			return p.do(split(rest)...)
		}
		want, err1 := talk(p.theirs)
		got, err2 := talk(p.ours)
		want, got = clientNumber.ReplaceAllString(want, "id N"), clientNumber.ReplaceAllString(got, "id N")
		if got != want || (err1 == nil) != (err2 == nil) {
			t.Errorf("%s = %q, %v; want %q, %v", line, got, err2, want, err1)
		}
	}
	for name, p := range clients {
		want, got := p.theirs.rest(), p.ours.rest()
		if got != want {
			t.Errorf("client %s has more to read: %q, want %q", name, got, want)
		}
	}
}

// rest returns all that is to be read up to the reply of a last PING, or to the end.
func (p *peer) rest() (all string) {
	p.Write(encode("ping", "the end")) // fails if the server has closed the connection
	for !strings.Contains(all, "the end") {
		r, err := p.reply()
		if all += r; err != nil {
			return all + "closed"
		}
	}
	return all
}
