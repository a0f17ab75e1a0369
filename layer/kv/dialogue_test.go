package kv

import (
	"regexp"
	"strings"
	"testing"
)

// clientNumber is the number of a client in HELLO's reply.
var clientNumber = regexp.MustCompile("id\r\n:[0-9]+")

// dialogue has several clients talk with Redis and with a server of ours, and compares the replies byte by byte. A line "a: get k" is a command
// of client a; "a<" reads one more reply of a, such as a message that was published; "a> blpop k 0" is a command that blocks a, without a reply
// until then. Words are split at spaces; "" is an empty word.
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
		talk := func(p *peer, address string) (string, error) {
			switch line[1] {
			case '<':
				return p.reply()
			case '>':
				return "", blocks(connect(t, address), p, split(rest)...)
			}
			return p.do(split(rest)...)
		}
		want, err1 := talk(p.theirs, theirs)
		got, err2 := talk(p.ours, ours)
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

var blockedClients = regexp.MustCompile("blocked_clients:[0-9]+")

// blocks has a client send a command, and waits until the server says that it is blocked.
func blocks(observer, client *peer, words ...string) error {
	before := ""
	for {
		clients, err := observer.do("info", "clients")
		now := blockedClients.FindString(clients)
		if err != nil || before != "" && now != before {
			return err
		}
		if before == "" {
			before = now
			if _, err := client.Write(encode(words...)); err != nil {
				return err
			}
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
