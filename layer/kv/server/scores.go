package server

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// strtod reads a number as that function of C does in Redis: decimal or hexadecimal, inf and nan; over and under say that it is out of range.
func strtod(text string) (f float64, over, under, ok bool) {
	if strings.ContainsRune(text, '_') {
		return 0, false, false, false
	}
	digits := strings.ToLower(strings.TrimLeft(text, "+-"))
	hex := strings.HasPrefix(digits, "0x")
	if hex && !strings.Contains(digits, "p") {
		text += "p0" // which C does without
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false, false, false
	}
	mantissa, _, _ := strings.Cut(digits, "e")
	if hex {
		mantissa, _, _ = strings.Cut(digits[2:], "p")
	}
	return f, err != nil, f == 0 && strings.ContainsAny(mantissa, "123456789abcdef"), true
}

// parseScore reads an argument that is a number, as Redis' getDoubleFromObject.
func parseScore(p []byte) (f float64, ok bool) {
	f, over, under, ok := strtod(string(p))
	return f, ok && !over && !under && !math.IsNaN(f)
}

// score is parseScore, and answers if that fails.
func (k *call) score(p []byte) (f float64, ok bool) {
	if f, ok = parseScore(p); !ok {
		k.fail(errFloat)
	}
	return f, ok
}

// limitScore reads an end of a range of scores: space before it, nothing at all, and numbers out of range are as good as any.
func limitScore(p []byte) (l scoreLimit, ok bool) {
	text := string(p)
	if strings.HasPrefix(text, "(") {
		l.open, text = true, text[1:]
	}
	if text == "" {
		return l, true
	}
	f, _, _, ok := strtod(strings.TrimLeft(text, " \t\n\v\f\r"))
	l.score = f
	return l, ok && !math.IsNaN(f)
}

// scoreText is a score in the replies of ZSCAN: compact says that Redis would have it as text in a list.
func scoreText(f float64, compact bool) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case compact && f != 0 && math.Abs(f) <= math.MaxInt64/2 && f == math.Trunc(f): // double2ll
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}
