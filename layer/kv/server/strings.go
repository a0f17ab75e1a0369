package server

import (
	"math/big"
	"strconv"
	"strings"

	"usui/layer/kv/engine"
	"usui/layer/kv/resp"
)

func stringCommands() []command {
	return []command{
		{"get", 2, "readonly fast", 1, 1, 1, get},
		{"set", -3, "write denyoom", 1, 1, 1, set},
		{"setnx", 3, "write denyoom fast", 1, 1, 1, setNX},
		{"setex", 4, "write denyoom", 1, 1, 1, func(k *call) { k.setFor(seconds) }},
		{"psetex", 4, "write denyoom", 1, 1, 1, func(k *call) { k.setFor(milliseconds) }},
		{"getset", 3, "write denyoom fast", 1, 1, 1, getSet},
		{"getdel", 2, "write fast", 1, 1, 1, getDel},
		{"getex", -2, "write fast", 1, 1, 1, getEx},
		{"mget", -2, "readonly fast", 1, -1, 1, mget},
		{"mset", -3, "write denyoom", 1, -1, 2, func(k *call) { k.setMany(false) }},
		{"msetnx", -3, "write denyoom", 1, -1, 2, func(k *call) { k.setMany(true) }},
		{"append", 3, "write denyoom fast", 1, 1, 1, appendTo},
		{"strlen", 2, "readonly fast", 1, 1, 1, strlen},
		{"incr", 2, "write denyoom fast", 1, 1, 1, func(k *call) { k.add(1) }},
		{"decr", 2, "write denyoom fast", 1, 1, 1, func(k *call) { k.add(-1) }},
		{"incrby", 3, "write denyoom fast", 1, 1, 1, func(k *call) { k.addBy(1) }},
		{"decrby", 3, "write denyoom fast", 1, 1, 1, func(k *call) { k.addBy(-1) }},
		{"incrbyfloat", 3, "write denyoom fast", 1, 1, 1, addFloat},
		{"getrange", 4, "readonly", 1, 1, 1, getRange},
		{"substr", 4, "readonly", 1, 1, 1, getRange},
		{"setrange", 4, "write denyoom", 1, 1, 1, setRange},
		{"lcs", -3, "readonly", 1, 2, 1, lcs},
	}
}

func get(k *call) { k.reply(k.args[1]) }

// reply answers with the string that a key has. ok is false if it has something else.
func (k *call) reply(key []byte) (e engine.Entry, was, ok bool) {
	e, was, ok = k.get(key)
	switch {
	case was:
		k.w.Bulk(e.Value)
	case ok:
		k.w.Null()
	}
	return e, was, ok
}

// setOptions are what SET and GETEX may end with.
type setOptions struct {
	nx, xx, get, keep, persist, has bool
	unit                            unit
	when                            []byte
}

// options reads them from the arguments behind the first n; allowed are those that are in words.
func (k *call) options(n int, words string) (o setOptions, ok bool) {
	for i := n; i < len(k.args); i++ {
		a := k.args[i]
		switch u, isUnit := unitOf(a); {
		case isUnit && (!o.has || u == o.unit) && !o.keep && !o.persist && i+1 < len(k.args):
			i++
			o.unit, o.when, o.has = u, k.args[i], true
		case is(a, "NX") && !o.xx && strings.Contains(words, "nx"):
			o.nx = true
		case is(a, "XX") && !o.nx && strings.Contains(words, "nx"):
			o.xx = true
		case is(a, "GET") && strings.Contains(words, "get"):
			o.get = true
		case is(a, "KEEPTTL") && !o.has && strings.Contains(words, "keepttl"):
			o.keep = true
		case is(a, "PERSIST") && !o.has && strings.Contains(words, "persist"):
			o.persist = true
		default:
			k.fail(errSyntax)
			return o, false
		}
	}
	return o, true
}

// expire is the time that options have, 0 without one, and answers if that is none.
func (k *call) expire(o setOptions) (at int64, ok bool) {
	if !o.has {
		return 0, true
	}
	return k.expireTime(o.when, o.unit, true)
}

func set(k *call) {
	o, ok := k.options(3, "nx get keepttl")
	if !ok {
		return
	}
	expire, ok := k.expire(o)
	if !ok {
		return
	}
	key := k.args[1]
	if !o.get && !o.nx && !o.xx && !o.keep {
		if k.place(key, expire) {
			return
		}
		if k.wrote(k.l.store.PutParts(key, k.args[2], k.parts(), expire)) {
			k.w.Status("OK")
		}
		return
	}
	start := len(k.w.Out)
	old, was := k.find(key)
	if o.get {
		switch {
		case old.Collection != nil:
			k.fail(errWrongType)
			return
		case was:
			k.w.Bulk(old.Value)
		default:
			k.w.Null()
		}
	}
	if o.nx && was || o.xx && !was {
		if !o.get {
			k.w.Null()
		}
		return
	}
	if o.keep {
		expire = old.Expire
	}
	if err := k.l.store.PutParts(key, k.args[2], k.parts(), expire); err != nil {
		k.w.Out = k.w.Out[:start]
		k.wrote(err)
		return
	}
	k.wrote(nil)
	if !o.get {
		k.w.Status("OK")
	}
}

// parts are where the value is if it is not among the arguments.
func (k *call) parts() [][]byte {
	if k.c.left.open() {
		return k.c.left.parts
	}
	return nil
}

func setNX(k *call) {
	if _, was := k.find(k.args[1]); was {
		k.w.Int(0)
	} else if k.put(k.args[1], k.args[2], 0) {
		k.w.Int(1)
	}
}

func (k *call) setFor(u unit) {
	if expire, ok := k.expireTime(k.args[2], u, true); ok && k.put(k.args[1], k.args[3], expire) {
		k.w.Status("OK")
	}
}

func getSet(k *call) {
	start := len(k.w.Out)
	if _, _, ok := k.reply(k.args[1]); !ok {
		return
	}
	if err := k.l.store.Put(k.args[1], k.args[2], 0); err != nil {
		k.w.Out = k.w.Out[:start]
		k.wrote(err)
		return
	}
	k.wrote(nil)
}

func getDel(k *call) {
	start := len(k.w.Out)
	if _, was, _ := k.reply(k.args[1]); !was {
		return
	}
	if _, err := k.l.store.Delete(k.args[1]); err != nil {
		k.w.Out = k.w.Out[:start]
		k.wrote(err)
		return
	}
	k.wrote(nil)
}

func getEx(k *call) {
	o, ok := k.options(2, "persist")
	if !ok {
		return
	}
	old, was, ok := k.get(k.args[1])
	if !was {
		if ok {
			k.w.Null()
		}
		return
	}
	expire, ok := k.expire(o) // without a key, no time is wrong
	if !ok {
		return
	}
	start := len(k.w.Out)
	k.w.Bulk(old.Value)
	if !o.has && !o.persist || o.persist && old.Expire == 0 {
		return
	}
	if err := k.retime(k.args[1], expire); err != nil {
		k.w.Out = k.w.Out[:start]
		k.wrote(err)
	}
}

func mget(k *call) {
	k.w.Array(len(k.args) - 1)
	for _, key := range k.args[1:] {
		if e, was := k.find(key); was && e.Collection == nil {
			k.w.Bulk(e.Value)
		} else {
			k.w.Null()
		}
	}
}

func (k *call) setMany(onlyNew bool) {
	if len(k.args)%2 == 0 {
		k.fail("ERR wrong number of arguments for '" + k.c.command + "' command")
		return
	}
	pairs := k.args[1:]
	for i := 0; onlyNew && i < len(pairs); i += 2 {
		if _, was := k.find(pairs[i]); was {
			k.w.Int(0)
			return
		}
	}
	var r room
	for i := 0; i < len(pairs); i += 2 {
		r.add(len(pairs[i]), len(pairs[i+1]))
	}
	if err := k.l.store.Begin(r.bytes); err != nil {
		k.wrote(err)
		return
	}
	defer k.l.store.End()
	for i := 0; i < len(pairs); i += 2 {
		if !k.put(pairs[i], pairs[i+1], 0) {
			return
		}
	}
	if onlyNew {
		k.w.Int(1)
	} else {
		k.w.Status("OK")
	}
}

func appendTo(k *call) {
	e, _, ok := k.get(k.args[1])
	if !ok {
		return
	}
	k.scratch = append(append(k.scratch[:0], e.Value...), k.args[2]...)
	if k.put(k.args[1], k.scratch, e.Expire) {
		k.w.Int(int64(len(k.scratch)))
	}
}

func strlen(k *call) {
	if e, _, ok := k.get(k.args[1]); ok {
		k.w.Int(int64(len(e.Value)))
	}
}

func (k *call) addBy(sign int64) {
	n, ok := k.integer(k.args[2])
	switch {
	case !ok:
	case sign < 0 && n == -n && n != 0: // the least number has no opposite
		k.fail("ERR decrement would overflow")
	default:
		k.add(sign * n)
	}
}

func (k *call) add(n int64) {
	e, was, ok := k.get(k.args[1])
	if !ok {
		return
	}
	old := int64(0)
	if was {
		if old, ok = resp.ParseInt(e.Value); !ok {
			k.fail(errInteger)
			return
		}
	}
	sum := old + n
	if n > 0 && sum < old || n < 0 && sum > old {
		k.fail(errOverflow)
		return
	}
	k.scratch = strconv.AppendInt(k.scratch[:0], sum, 10)
	if k.put(k.args[1], k.scratch, e.Expire) {
		k.w.Int(sum)
	}
}

// What the long double has that Redis uses on amd64, by the exponents of big.Float. The least is that of a denormal number.
const (
	floatPrecision = 64
	floatMost      = 16384
	floatLeast     = -16444
)

// longestFloat is how many bytes a number has at most, as in Redis (MAX_LONG_DOUBLE_CHARS).
const longestFloat = 5<<10 - 1

// parseFloat reads a number as strtold of C does in Redis (string2ld): decimal or hexadecimal, or infinity; within the range of a long double.
func parseFloat(p []byte) (*big.Float, bool) {
	text, base := strings.ToLower(string(p)), 10
	digits := text
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		digits = text[1:]
	}
	switch {
	case digits == "inf" || digits == "infinity":
		return new(big.Float).SetInf(text[0] == '-'), true
	case len(text) > longestFloat || strings.Contains(text, "_"):
		return nil, false
	case strings.HasPrefix(digits, "0x"):
		base = 0 // the prefix tells
	case strings.ContainsAny(text, "pi"): // a binary exponent, which Go has for decimal numbers, too; a word
		return nil, false
	}
	f, _, err := big.ParseFloat(text, base, floatPrecision, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > floatMost {
		return nil, false
	}
	mantissa, _, _ := strings.Cut(strings.TrimPrefix(digits, "0x"), map[int]string{10: "e", 0: "p"}[base])
	small := f.Sign() == 0 || f.MantExp(nil) < floatLeast
	return f, !small || !strings.ContainsAny(mantissa, "123456789abcdef")
}

func addFloat(k *call) {
	e, was, ok := k.get(k.args[1])
	if !ok {
		return
	}
	old := new(big.Float).SetPrec(floatPrecision)
	if was {
		if old, ok = parseFloat(e.Value); !ok {
			k.fail(errFloat)
			return
		}
	}
	by, ok := parseFloat(k.args[2])
	if !ok {
		k.fail(errFloat)
		return
	}
	text, ok := k.sum(old, by)
	if ok && k.put(k.args[1], []byte(text), e.Expire) {
		k.w.Text(text)
	}
}

// sum adds by to old and returns the sum as Redis writes it. It answers if there is none.
func (k *call) sum(old, by *big.Float) (string, bool) {
	if old.IsInf() || by.IsInf() {
		k.fail("ERR increment would produce NaN or Infinity")
		return "", false
	}
	if old.Add(old, by).MantExp(nil) > floatMost {
		k.fail("ERR increment would produce NaN or Infinity")
		return "", false
	}
	text := old.Text('f', 17)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return text, true
}

func getRange(k *call) {
	start, ok1 := k.integer(k.args[2])
	if !ok1 {
		return
	}
	end, ok2 := k.integer(k.args[3])
	if !ok2 {
		return
	}
	e, _, ok := k.get(k.args[1])
	if !ok {
		return
	}
	n := int64(len(e.Value))
	if start < 0 && end < 0 && start > end || n == 0 {
		k.w.Text("")
		return
	}
	if start < 0 {
		start = max(0, n+start)
	}
	if end < 0 {
		end = max(0, n+end)
	}
	if end = min(end, n-1); start > end {
		k.w.Text("")
		return
	}
	k.w.Bulk(e.Value[start : end+1])
}

func setRange(k *call) {
	off, ok := k.integer(k.args[2])
	if !ok {
		return
	}
	if off < 0 {
		k.fail("ERR offset is out of range")
		return
	}
	e, _, ok := k.get(k.args[1])
	if !ok {
		return
	}
	with := k.args[3]
	if len(with) == 0 {
		k.w.Int(int64(len(e.Value)))
		return
	}
	if off > int64(k.s.maxBulk()-len(with)) {
		k.fail(errTooLong)
		return
	}
	k.scratch = append(k.scratch[:0], e.Value...)
	for int64(len(k.scratch)) < off+int64(len(with)) {
		k.scratch = append(k.scratch, 0)
	}
	copy(k.scratch[off:], with)
	if k.put(k.args[1], k.scratch, e.Expire) {
		k.w.Int(int64(len(k.scratch)))
	}
}
