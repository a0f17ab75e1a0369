package resp

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// commands parses all of p, of which a piece of n bytes arrives at a time.
func commands(s *Parser, p []byte, n int) (got []string, err error) {
	for start, have := 0, 0; ; {
		args, length, err := s.Next(p[start:have])
		switch {
		case err != nil:
			return got, err
		case length > 0:
			got = append(got, fmt.Sprintf("%q", args))
			start += length
		case have == len(p):
			return got, nil
		default:
			have = min(len(p), have+n)
		}
	}
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		in, want, err string
	}{
		{"*1\r\n$4\r\nPING\r\n", `["PING"]`, ""},
		{"*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", `["GET" ""] ["PING"]`, ""},
		{"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n", `["GET" "\r\n"]`, ""},
		{"*0\r\n*-5\r\n*1\r\n$1\r\na\r\n", `[] [] ["a"]`, ""},
		{"PING\r\nget  a\n\r\n", `["PING"] ["get" "a"] []`, ""},
		{"set k \"a\\x41\\n\\\"b\" 'it\\'s \\n'\r\n", `["set" "k" "aA\n\"b" "it's \\n"]`, ""},
		{"set k \"\" ''\r\n", `["set" "k" "" ""]`, ""},
		{"set k \"a\"b\r\n", "", "unbalanced quotes in request"},
		{"set k \"a\r\n", "", "unbalanced quotes in request"},
		{"*1\r\n:4\r\n", "", "expected '$', got ':'"},
		{"*x\r\n", "", "invalid multibulk length"},
		{"*1048577\r\n", "", "invalid multibulk length"},
		{"*1\r\n$-1\r\n", "", "invalid bulk length"},
		{"*1\r\n$101\r\n", "", "invalid bulk length"},
		{"*1\r\n$+1\r\n", "", "invalid bulk length"},
		{"*9\r\n" + strings.Repeat("$100\r\n"+strings.Repeat("x", 100)+"\r\n", 9), "", "command is too long"},
		{"*" + strings.Repeat("1", maxLine), "", "too big mbulk count string"},
		{"*1\r\n$" + strings.Repeat("1", maxLine), "", "too big bulk count string"},
		{strings.Repeat("x", maxLine+2), "", "too big inline request"},
		{"*2\r\n$3\r\nGET\r\n$5\r\nabc", "", ""},
	} {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			got, err := commands(&Parser{MaxBulk: 100, MaxCommand: 800}, []byte(tt.in), n)
			if s := strings.Join(got, " "); s != tt.want || fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
				t.Errorf("%.40q in pieces of %d = %s, %v; want %s, %s", tt.in, n, s, err, tt.want, tt.err)
			}
		}
	}
}

func TestAStrangerMaySendLittle(t *testing.T) {
	for in, want := range map[string]string{
		"*11\r\n":             "unauthenticated multibulk length",
		"*2\r\n$16385\r\n":    "unauthenticated bulk length",
		"*1\r\n$1\r\na\r\n":   "<nil>",
		"*10\r\n$16384\r\nab": "<nil>",
	} {
		if _, err := commands(&Parser{MaxBulk: 1 << 20, Stranger: true}, []byte(in), 1); fmt.Sprint(err) != want {
			t.Errorf("%q = %v, want %s", in, err, want)
		}
	}
}

func TestAnnouncedArgumentsTakeNoMemory(t *testing.T) {
	s := Parser{MaxBulk: 512 << 20}
	if _, n, err := s.Next([]byte("*1048576\r\n$536870912\r\n")); n != 0 || err != nil {
		t.Fatalf("Next = %d, %v; want 0 and no error", n, err)
	}
	if cap(s.args) > 64 || s.Want() < 512<<20 {
		t.Errorf("room for %d arguments, Want() = %d; want few, and the bulk's length", cap(s.args), s.Want())
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	s := Parser{MaxBulk: 1000}
	p := []byte("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n")
	w := Writer{Out: make([]byte, 0, 1000)}
	if n := testing.AllocsPerRun(100, func() {
		args, _, _ := s.Next(p)
		w.Out = w.Out[:0]
		w.Bulk(args[2])
		w.Int(12345)
		w.Status("OK")
		w.Null()
	}); n != 0 {
		t.Errorf("a command and its reply allocate %v times, want 0", n)
	}
}

func TestReplies(t *testing.T) {
	write := func(w *Writer) string {
		w.Status("OK")
		w.Error("ERR a\r\nb")
		w.Int(-5)
		w.Bulk([]byte("x\r\n"))
		w.Null()
		w.Double(1.5)
		w.Double(math.Inf(-1))
		w.Array(1)
		w.Set(2)
		w.Map(3)
		w.Verbatim("hi")
		return string(w.Out)
	}
	const same = "+OK\r\n-ERR a  b\r\n:-5\r\n$3\r\nx\r\n\r\n"
	if got, want := write(&Writer{}), same+"$-1\r\n$3\r\n1.5\r\n$4\r\n-inf\r\n*1\r\n*2\r\n*6\r\n$2\r\nhi\r\n"; got != want {
		t.Errorf("version 2: %q, want %q", got, want)
	}
	if got, want := write(&Writer{V3: true}), same+"_\r\n,1.5\r\n,-inf\r\n*1\r\n~2\r\n%3\r\n=6\r\ntxt:hi\r\n"; got != want {
		t.Errorf("version 3: %q, want %q", got, want)
	}
}

func TestParseInt(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0 true", "-1": "-1 true", "9223372036854775807": "9223372036854775807 true", "-9223372036854775808": "-9223372036854775808 true",
		"9223372036854775808": "0 false", "-9223372036854775809": "0 false", "": "0 false", "-": "0 false", "-0": "0 false", "01": "0 false",
		"+1": "0 false", " 1": "0 false", "1x": "0 false", "99999999999999999999": "0 false",
	} {
		n, ok := ParseInt([]byte(in))
		if got := fmt.Sprint(n, ok); got != want {
			t.Errorf("ParseInt(%q) = %s, want %s", in, got, want)
		}
	}
}

// FuzzParser gives the same bytes in one piece and in small ones; the results have to be the same, and views lie within.
func FuzzParser(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING 'x y'\r\n*0\r\n"), 3)
	f.Add([]byte("*1\r\n$101\r\nset \"\\x4"), 1)
	f.Fuzz(func(t *testing.T, p []byte, n int) {
		p = bytes.Clone(p)[:len(p):len(p)]
		n = 1 + (n&0xff+256)%256
		whole, err1 := commands(&Parser{MaxBulk: 100, MaxCommand: 500}, p, len(p)+1)
		pieces, err2 := commands(&Parser{MaxBulk: 100, MaxCommand: 500}, p, n)
		if !slices.Equal(whole, pieces) || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("%q: whole %q, %v; in pieces of %d %q, %v", p, whole, err1, n, pieces, err2)
		}
	})
}

// TestAnArgumentCanBeElsewhere takes the bytes of the second argument out of the stream, wherever that is cut.
func TestAnArgumentCanBeElsewhere(t *testing.T) {
	const before, value, after = "*3\r\n$3\r\nSET\r\n$9\r\n", "some\r\n$5\r", "\r\n$1\r\nv\r\n*1\r\n$4\r\nPING\r\n"
	for cut := range len(value) + 1 {
		s := Parser{MaxBulk: 100}
		if args, n, err := s.Next([]byte(before + value[:cut])); n != 0 || err != nil {
			t.Fatalf("cut at %d: Next = %q, %d, %v", cut, args, n, err)
		}
		if number, at, n, ok := s.Pending(); !ok || number != 1 || at != len(before) || n != len(value) {
			t.Fatalf("cut at %d: Pending() = %d, %d, %d, %v", cut, number, at, n, ok)
		}
		s.Leave()
		for have := range len(after) + 1 {
			args, n, err := s.Next([]byte(before + after[:have]))
			switch whole := len(after) - len("*1\r\n$4\r\nPING\r\n"); {
			case err != nil || (n > 0) != (have >= whole):
				t.Fatalf("cut at %d, %d bytes behind it: Next = %q, %d, %v", cut, have, args, n, err)
			case n > 0:
				if got := fmt.Sprintf("%q", args); got != `["SET" "" "v"]` || n != len(before)+whole {
					t.Fatalf("Next = %s, %d", got, n)
				}
				have = len(after)
			}
			if n > 0 {
				break
			}
		}
	}
	var s Parser
	if _, _, _, ok := s.Pending(); ok {
		t.Error("Pending() before anything has come")
	}
}
