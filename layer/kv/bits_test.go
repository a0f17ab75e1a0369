package kv

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// bitConversation is what the random commands of TestBitsAreThoseOfRedis do not say.
const bitConversation = `
setbit
setbit k -1 0
setbit k x 0
setbit k 4294967296 0
setbit k 0 2
setbit k 0 x
getbit k
getbit k -1
getbit nosuch 5
bitcount nosuch 1
bitcount nosuch 1 2 x
set k foobar
bitcount k
bitcount k 1
bitcount k 1 x
bitcount k 1 2 x
bitcount k 1 2 bit x
bitpos k 2
bitpos k x
bitpos k 1 0 1 x
bitpos k 1 0 1 bit x
bitpos k 1 x
bitpos k 1 0 x
bitpos nosuch 0
bitpos nosuch 1 a b c d
set e ""
bitpos e 0
bitpos e 1
bitcount e
set ones ÿÿÿ
bitpos ones 0
bitpos ones 0 0 -1
bitop not
bitop not d a b
bitop nand d a b
bitop and d nosuch none
get d
bitfield
bitfield k
bitfield k get
bitfield k get u64 0
bitfield k get i0 0
bitfield k get i65 0
bitfield k get x8 0
bitfield k get i 0
bitfield k get u8 -1
bitfield k get u8 #-1
bitfield k get u8 4294967296
bitfield k set u8 0
bitfield k set u8 0 x
bitfield k overflow
bitfield k overflow x
bitfield k frob u8 0
bitfield_ro k set u8 0 1
bitfield_ro k get u8 0 get i5 #3
bitfield nosuch get u8 0
exists nosuch
lcs
lcs a
lcs a b len idx
lcs a b minmatchlen
lcs a b minmatchlen x
lcs a b frob
lcs nosuch none
lcs nosuch none idx
lcs nosuch none len
set a ohmytext
set b mynewtext
lcs a b
lcs a b len
lcs a b idx
lcs a b idx minmatchlen 4 withmatchlen
sadd s x
setbit s 0 1
getbit s 0
bitcount s
bitcount s x y
bitpos s 0
bitop or d k s
bitfield s get u8 0
bitfield s set u8 0 1
lcs a s
lcs s a len idx
set s x keepttl
`

func TestBitsAreThoseOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	same := func(words ...string) {
		t.Helper()
		want, err1 := a.do(words...)
		got, err2 := b.do(words...)
		if got != want || err1 != nil || err2 != nil {
			t.Errorf("%.200q = %.200q, %v; want %.200q, %v", words, got, err2, want, err1)
		}
	}
	for line := range strings.Lines(strings.TrimSpace(bitConversation)) {
		same(split(strings.TrimSuffix(line, "\n"))...)
	}
	for _, p := range []*peer{a, b} {
		if _, err := p.do("hello", "3"); err != nil { // its answer has the connection's number
			t.Fatal(err)
		}
	}
	same("lcs", "a", "b", "idx", "withmatchlen")
	random := rand.New(rand.NewPCG(3, 4))
	key := func() string { return fmt.Sprint("k", random.IntN(4)) }
	at := func() string { return fmt.Sprint(random.IntN(200)) }
	near := func() string { return fmt.Sprint(random.IntN(60) - 30) }
	bit := func() string { return fmt.Sprint(random.IntN(2)) }
	unit := func() string { return []string{"bit", "BYTE"}[random.IntN(2)] }
	value := func(letters int) string {
		p := make([]byte, random.IntN(40))
		for i := range p {
			p[i] = []byte{0, 255, 'a', 'b', 0x80, 1, 'c'}[random.IntN(letters)]
		}
		return string(p)
	}
	operand := func() string {
		return fmt.Sprint(int64(random.Uint64()) >> random.IntN(64))
	}
	field := func() string {
		if random.IntN(2) == 0 {
			return fmt.Sprint("i", 1+random.IntN(64))
		}
		return fmt.Sprint("u", 1+random.IntN(63))
	}
	for range 4000 {
		switch random.IntN(10) {
		case 0:
			same("set", key(), value(7))
		case 1:
			same("setbit", key(), at(), bit())
		case 2:
			same("getbit", key(), at())
		case 3:
			same("bitcount", key(), near(), near(), unit())
		case 4:
			same("bitcount", key(), near(), near())
		case 5:
			same("bitpos", key(), bit(), near(), near(), unit())
		case 6:
			same(append([]string{"bitpos", key(), bit()}, []string{near(), near()}[:random.IntN(3)]...)...)
		case 7:
			same("bitop", []string{"and", "OR", "xor"}[random.IntN(3)], key(), key(), key(), key())
			same("bitop", "not", key(), key())
		case 8:
			words := []string{"bitfield", key()}
			for range 1 + random.IntN(3) {
				words = append(words, "overflow", []string{"wrap", "sat", "fail"}[random.IntN(3)])
				f := field()
				words = append(words, []string{"set", "incrby"}[random.IntN(2)], f, at(), operand(), "get", f, "#"+fmt.Sprint(random.IntN(4)))
			}
			same(words...)
		case 9:
			same("set", "a", value(4))
			same("set", "b", value(4))
			same("lcs", "a", "b", "idx", "withmatchlen", "minmatchlen", fmt.Sprint(random.IntN(4)))
			same("lcs", "a", "b")
		}
		same("get", key())
	}
}
