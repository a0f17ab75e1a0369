package resp

import (
	"bytes"
	"errors"
)

// Limits on what a client may send; those that cannot be changed are Redis' (PROTO_INLINE_MAX_SIZE, and the bound in
// processMultibulkBuffer).
const (
	maxLine      = 64 << 10
	maxArguments = 1 << 20
)

// Errors of the protocol, as Redis words them behind "ERR Protocol error: ".
var (
	errInline     = errors.New("too big inline request")
	errQuotes     = errors.New("unbalanced quotes in request")
	errArrayLine  = errors.New("too big mbulk count string")
	errArray      = errors.New("invalid multibulk length")
	errBulkLine   = errors.New("too big bulk count string")
	errBulk       = errors.New("invalid bulk length")
	errWhole      = errors.New("command is too long")
	errUnauthBulk = errors.New("unauthenticated bulk length")
	errUnauthList = errors.New("unauthenticated multibulk length")
)

// ExpectedBulk is the error for a byte that should have been a $.
type ExpectedBulk byte

// Error implements error.
func (e ExpectedBulk) Error() string {
	return "expected '$', got '" + string(rune(e)) + "'"
}

// Parser finds commands in a stream. The zero value needs MaxBulk.
type Parser struct {
	MaxBulk    int  // longest argument
	MaxCommand int  // longest command, 0 for any; what it bounds is the caller's buffer
	Stranger   bool // who has not authenticated may send 10 arguments of 16 KiB

	args  []span
	at    int // where to look on, from the start of the command
	left  int // arguments that are still to come; 0 between commands
	bulk  int // length of the argument that is being read, -1 if that is not known yet
	views [][]byte
}

// span is where an argument lies, from the start of the command.
type span struct{ start, end int }

// Next looks for a command at the start of p. It returns the arguments, which are views of p, and the command's length. Length 0 with no
// error means that more has to come: the next call has the same bytes at the start of p, and more behind them. An empty line is a command
// without arguments.
func (s *Parser) Next(p []byte) (args [][]byte, length int, err error) {
	if s.left == 0 {
		if len(p) == 0 {
			return nil, 0, nil
		}
		if p[0] != '*' {
			return s.inline(p)
		}
		n, ok, err := s.number(p, 1, errArrayLine, errArray)
		if !ok {
			return nil, 0, err
		}
		switch {
		case n > maxArguments:
			return nil, 0, errArray
		case n > 10 && s.Stranger:
			return nil, 0, errUnauthList
		case n <= 0:
			return nil, s.finish(), nil
		}
		s.left, s.bulk, s.args = n, -1, s.args[:0]
	}
	for s.left > 0 {
		ok, err := s.argument(p)
		if !ok {
			return nil, 0, err
		}
	}
	s.views = s.views[:0]
	for _, a := range s.args {
		s.views = append(s.views, p[a.start:a.end])
	}
	return s.views, s.finish(), nil
}

// Want is how long the buffer has to be for the argument that is being read, 0 if that is not known.
func (s *Parser) Want() int {
	if s.left == 0 || s.bulk < 0 {
		return 0
	}
	return s.at + s.bulk + 2
}

// Pending is the argument that is being read: its number, where its bytes begin, and how many they are. ok is false if that is not known yet.
func (s *Parser) Pending() (number, at, n int, ok bool) {
	return len(s.args), s.at, s.bulk, s.left > 0 && s.bulk >= 0
}

// Leave says that the bytes of the pending argument are not in the stream any more: what ends it follows at once, and it is found empty.
func (s *Parser) Leave() { s.bulk = 0 }

// Trim gives memory back that a command with very many arguments took.
func (s *Parser) Trim() {
	if cap(s.args) > 1024 {
		s.args, s.views = nil, nil
	}
}

func (s *Parser) finish() (length int) {
	length, s.at, s.left = s.at, 0, 0
	return length
}

// argument reads the next argument, or says false if it is not there yet.
func (s *Parser) argument(p []byte) (ok bool, err error) {
	if s.bulk < 0 {
		if s.at >= len(p) {
			return false, nil
		}
		if p[s.at] != '$' {
			return false, ExpectedBulk(p[s.at])
		}
		n, ok, err := s.number(p, s.at+1, errBulkLine, errBulk)
		switch {
		case !ok:
			return false, err
		case n < 0 || n > s.MaxBulk:
			return false, errBulk
		case n > 16<<10 && s.Stranger:
			return false, errUnauthBulk
		case s.MaxCommand > 0 && s.at+n > s.MaxCommand:
			return false, errWhole
		}
		s.bulk = n
	}
	if len(p) < s.at+s.bulk+2 {
		return false, nil
	}
	s.args = append(s.args, span{s.at, s.at + s.bulk})
	s.at += s.bulk + 2 // Redis does not look at these two bytes either
	s.left, s.bulk = s.left-1, -1
	return true, nil
}

// number reads a decimal number that ends a line and begins at from. On success s.at is behind the line.
func (s *Parser) number(p []byte, from int, tooLong, invalid error) (n int, ok bool, err error) {
	line := p[from:]
	end := bytes.IndexByte(line[:min(len(line), maxLine)], '\r')
	if end < 0 {
		if len(line) >= maxLine {
			return 0, false, tooLong
		}
		return 0, false, nil
	}
	if end+1 >= len(line) {
		return 0, false, nil
	}
	v, valid := ParseInt(line[:end])
	if !valid {
		return 0, false, invalid
	}
	s.at = from + end + 2
	return int(v), true, nil
}

// inline reads a command that is a line of words.
func (s *Parser) inline(p []byte) (args [][]byte, length int, err error) {
	end := bytes.IndexByte(p[min(s.at, len(p)):], '\n')
	if end < 0 {
		if s.at = len(p); len(p) > maxLine {
			return nil, 0, errInline
		}
		return nil, 0, nil
	}
	end += min(s.at, len(p))
	if end > maxLine {
		return nil, 0, errInline
	}
	s.at = end + 1
	line := p[:end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	s.views = s.views[:0]
	if !s.words(line) {
		return nil, 0, errQuotes
	}
	return s.views, s.finish(), nil
}

// ParseInt reads a decimal number as Redis' string2ll does: no sign but -, no leading zeros, nothing around it.
func ParseInt(p []byte) (int64, bool) {
	negative := len(p) > 0 && p[0] == '-'
	digits := p
	if negative {
		digits = p[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && (negative || len(digits) > 1) {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0') // 19 digits fit
	}
	switch {
	case negative && n <= 1<<63:
		return -int64(n), true
	case !negative && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}
