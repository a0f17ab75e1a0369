package server

// match says whether text matches a pattern of Redis: * any bytes, ? one, [a-z] and [^a-z] one of a class, \ takes the next literally.
// It remembers the last * only, so that its time is at most the product of the two lengths.
func match(pattern, text []byte) bool {
	p, t := 0, 0
	star, from := -1, 0 // where to go on after a *, and with which text
	for t < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, t
			continue
		}
		if p < len(pattern) {
			if n, ok := one(pattern[p:], text[t]); ok {
				p += n
				t++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, t = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one matches the first element of a pattern, n bytes long, with one byte.
func one(p []byte, c byte) (n int, ok bool) {
	switch {
	case p[0] == '?':
		return 1, true
	case p[0] == '[':
		return class(p, c)
	case p[0] == '\\' && len(p) > 1:
		return 2, p[1] == c
	}
	return 1, p[0] == c
}

// class matches [...]; one that has no end ends with the pattern, as Redis has it.
func class(p []byte, c byte) (n int, ok bool) {
	i := 1
	not := i < len(p) && p[i] == '^'
	if not {
		i++
	}
	found := false
	for ; i < len(p) && p[i] != ']'; i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			i++
			found = found || p[i] == c
		case i+2 < len(p) && p[i+1] == '-':
			low, high := min(p[i], p[i+2]), max(p[i], p[i+2])
			found = found || low <= c && c <= high
			i += 2
		default:
			found = found || p[i] == c
		}
	}
	return min(i+1, len(p)), found != not
}
