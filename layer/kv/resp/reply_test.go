package resp

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func reader(text string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(text), 64) }

func TestRepliesAreRead(t *testing.T) {
	if err := ReadStatus(reader("+OK\r\n")); err != nil {
		t.Errorf("ReadStatus = %v", err)
	}
	for text, want := range map[string]string{"$0\r\n\r\n": "", "$4\r\na\r\nb\r\n": "a\r\nb"} {
		if p, err := ReadBulk(reader(text), 4); err != nil || string(p) != want {
			t.Errorf("ReadBulk(%q) = %q, %v", text, p, err)
		}
	}
	if list, err := ReadInts(reader("*2\r\n:-7\r\n:9223372036854775807\r\n"), 2); err != nil || !slices.Equal(list, []int64{-7, 1<<63 - 1}) {
		t.Errorf("ReadInts = %d, %v", list, err)
	}
	var failed ReplyError
	if _, err := ReadBulk(reader("-ERR no\x1b[2J\r\n"), 4); !errors.As(err, &failed) || failed != `"ERR no\x1b[2J"` {
		t.Errorf("ReadBulk of an error = %v", err)
	}
}

// TestRepliesAreNotTrusted has what a hostile server might send.
func TestRepliesAreNotTrusted(t *testing.T) {
	for _, text := range []string{
		"", "\n", "\r\n", "$", "$5\r\nabcde\r\n", "$-1\r\n", "$999999999999\r\n", "$9223372036854775807\r\n", "$99999999999999999999\r\n", "$x\r\n", "$4\r\nabc", "$2\r\nabcd", "+OK\r\n", "$4\n",
		"$" + strings.Repeat("0", 100) + "\r\n",
	} {
		if p, err := ReadBulk(reader(text), 4); err == nil {
			t.Errorf("ReadBulk(%q) = %q", text, p)
		}
	}
	for _, text := range []string{"*3\r\n:1\r\n:2\r\n:3\r\n", "*1\r\n$1\r\n1\r\n", "*1\r\n:\r\n", "*2\r\n:1\r\n", "*-1\r\n", "*999999999999\r\n", ":1\r\n"} {
		if list, err := ReadInts(reader(text), 2); err == nil {
			t.Errorf("ReadInts(%q) = %d", text, list)
		}
	}
	if ReadStatus(reader(":1\r\n")) == nil {
		t.Error("a number is no status")
	}
}

func FuzzReplies(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "-ERR\r\n", "$4\r\nabcd\r\n", "*2\r\n:1\r\n:2\r\n", "$999999999999\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := ReadBulk(bufio.NewReader(bytes.NewReader(text)), 100); err == nil && (len(p) > 100 || len(p) > len(text)) {
			t.Errorf("%d bytes of %d", len(p), len(text))
		}
		if list, err := ReadInts(bufio.NewReader(bytes.NewReader(text)), 100); err == nil && (len(list) > 100 || len(list) > len(text)) {
			t.Errorf("%d numbers of %d bytes", len(list), len(text))
		}
	})
}
