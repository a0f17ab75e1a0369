package resp

// words splits an inline command into s.views, and says false if a quotation has no end or something follows it without a space. Words
// with quotes are copied.
func (s *Parser) words(line []byte) bool {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return true
		}
		start := i
		for i < len(line) && !isSpace(line[i]) && line[i] != '"' && line[i] != '\'' {
			i++
		}
		if i == len(line) || isSpace(line[i]) {
			s.views = append(s.views, line[start:i])
			continue
		}
		word, next, ok := quoted(line, start)
		if !ok {
			return false
		}
		s.views = append(s.views, word)
		i = next
	}
}

// quoted reads a word with quotes in it, as Redis' sdssplitargs does.
func quoted(line []byte, i int) (word []byte, next int, ok bool) {
	word = []byte{}
	var quote byte // the one that is open
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case quote == 0 && isSpace(c):
			return word, i, true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			if i+1 < len(line) && !isSpace(line[i+1]) {
				return nil, 0, false
			}
			quote = 0
		case quote == '"' && c == '\\' && i+1 < len(line):
			var n int
			word, n = escape(word, line[i:])
			i += n - 1
		case quote == '\'' && c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			word = append(word, '\'')
			i++
		default:
			word = append(word, c)
		}
	}
	return word, i, quote == 0
}

// escape appends what the escape at the start of p stands for, and returns its length.
func escape(word, p []byte) ([]byte, int) {
	if len(p) >= 4 && p[1] == 'x' {
		high, low := hexDigit(p[2]), hexDigit(p[3])
		if high >= 0 && low >= 0 {
			return append(word, byte(high<<4|low)), 4
		}
	}
	c := p[1]
	switch c {
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'b':
		c = '\b'
	case 'a':
		c = '\a'
	}
	return append(word, c), 2
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0 }
