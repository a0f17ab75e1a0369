package server

import (
	"math"

	"usui/layer/kv/resp"
)

func expiryCommands() []command {
	return []command{
		{"expire", -3, "write fast", 1, 1, 1, func(k *call) { k.expireIn(seconds) }},
		{"pexpire", -3, "write fast", 1, 1, 1, func(k *call) { k.expireIn(milliseconds) }},
		{"expireat", -3, "write fast", 1, 1, 1, func(k *call) { k.expireIn(atSeconds) }},
		{"pexpireat", -3, "write fast", 1, 1, 1, func(k *call) { k.expireIn(atMilliseconds) }},
		{"ttl", 2, "readonly fast", 1, 1, 1, func(k *call) { k.left(func(at, now int64) int64 { return (at - now + 500) / 1000 }) }},
		{"pttl", 2, "readonly fast", 1, 1, 1, func(k *call) { k.left(func(at, now int64) int64 { return at - now }) }},
		{"expiretime", 2, "readonly fast", 1, 1, 1, func(k *call) { k.left(func(at, _ int64) int64 { return at / 1000 }) }},
		{"pexpiretime", 2, "readonly fast", 1, 1, 1, func(k *call) { k.left(func(at, _ int64) int64 { return at }) }},
		{"persist", 2, "write fast", 1, 1, 1, persist},
	}
}

// unit is how a time is given.
type unit int

const (
	seconds unit = iota
	milliseconds
	atSeconds
	atMilliseconds
)

func unitOf(arg []byte) (unit, bool) {
	switch {
	case is(arg, "EX"):
		return seconds, true
	case is(arg, "PX"):
		return milliseconds, true
	case is(arg, "EXAT"):
		return atSeconds, true
	case is(arg, "PXAT"):
		return atMilliseconds, true
	}
	return 0, false
}

// expireTime makes Unix time in milliseconds of an argument, and answers if that is impossible. The options of SET and GETEX want
// it positive.
func (k *call) expireTime(arg []byte, u unit, positive bool) (int64, bool) {
	n, ok := resp.ParseInt(arg)
	if !ok {
		k.fail(errInteger)
		return 0, false
	}
	bad := positive && n <= 0
	if u == seconds || u == atSeconds {
		bad = bad || n > math.MaxInt64/1000 || n < math.MinInt64/1000
		n *= 1000
	}
	if u == seconds || u == milliseconds {
		bad = bad || n > math.MaxInt64-k.l.now
		n += k.l.now
	}
	if bad {
		k.fail("ERR invalid expire time in '" + k.c.command + "' command")
	}
	return n, !bad
}

// retime gives a key that is there another expiry, 0 for none. The record of the key is written anew: an expiry has none of its own.
func (k *call) retime(key []byte, expire int64) error {
	if expire != 0 && expire <= k.l.now {
		_, err := k.l.store.Delete(key)
		if err == nil {
			k.wrote(nil)
		}
		return err
	}
	e, _ := k.find(key)
	err := k.give(key, e, expire)
	if err == nil {
		k.wrote(nil)
	}
	return err
}

func (k *call) expireIn(u unit) {
	var nx, xx, gt, lt bool
	for _, a := range k.args[3:] {
		switch {
		case is(a, "NX"):
			nx = true
		case is(a, "XX"):
			xx = true
		case is(a, "GT"):
			gt = true
		case is(a, "LT"):
			lt = true
		default:
			k.fail("ERR Unsupported option " + string(a))
			return
		}
	}
	switch {
	case nx && (xx || gt || lt):
		k.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	case gt && lt:
		k.fail("ERR GT and LT options at the same time are not compatible")
		return
	}
	expire, ok := k.expireTime(k.args[2], u, false)
	if !ok {
		return
	}
	e, was := k.find(k.args[1])
	has := e.Expire != 0
	if !was || nx && has || xx && !has || gt && (!has || expire <= e.Expire) || lt && has && expire >= e.Expire {
		k.w.Int(0)
		return
	}
	if expire == 0 {
		expire = -1 // long ago; 0 would be never
	}
	if err := k.retime(k.args[1], expire); err != nil {
		k.wrote(err)
		return
	}
	k.w.Int(1)
}

// left answers with a time that show makes of the key's expiry; -2 for no key, -1 for no expiry.
func (k *call) left(show func(at, now int64) int64) {
	e, ok := k.find(k.args[1])
	switch {
	case !ok:
		k.w.Int(-2)
	case e.Expire == 0:
		k.w.Int(-1)
	default:
		k.w.Int(show(e.Expire, k.l.now))
	}
}

func persist(k *call) {
	if e, ok := k.find(k.args[1]); !ok || e.Expire == 0 {
		k.w.Int(0)
	} else if err := k.retime(k.args[1], 0); err != nil {
		k.wrote(err)
	} else {
		k.w.Int(1)
	}
}
