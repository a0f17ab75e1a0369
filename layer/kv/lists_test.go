package kv

import "testing"

// lists is a conversation about them.
const lists = `
set s 1
rpush l a
rpush l b c
lpush l x y
lrange l 0 -1
rpush l
rpush s a
lpushx none a
rpushx none a
lpushx l z
rpushx l d e
lpushx s a
lpushx l
llen l
llen none
llen s
llen
lrange l 0 0
lrange l -3 -2
lrange l 5 2
lrange l -100 100
lrange l 100 200
lrange l 0 -100
lrange l x 1
lrange l 0 x
lrange none 0 -1
lrange s 0 -1
lrange l 0
lindex l 0
lindex l -1
lindex l 3
lindex l 100
lindex l -100
lindex l x
lindex none x
lindex s x
lindex l
lset l 0 new
lset l -1 end
lset l 100 x
lset l -100 x
lset l x x
lset none 0 x
lset s 0 x
lset l 0
lrange l 0 -1
linsert l before a 1
linsert l after a 2
linsert l after end 3
linsert l before new 4
linsert l before none 5
linsert l foo a 5
linsert none before a 5
linsert s before a 5
linsert none foo a 5
linsert l before a
lrange l 0 -1
lpos l a
lpos l none
lpos none a
lpos s a
rpush p a b c 1 2 3 c c
lpos p c
lpos p c rank 2
lpos p c rank -1
lpos p c rank -2
lpos p c rank 0
lpos p c rank x
lpos p c rank 10
lpos p c rank -9223372036854775808
lpos p c rank -9223372036854775807
lpos p c count 2
lpos p c count 0
lpos p c count -1
lpos p c count x
lpos p c count 2 rank -1
lpos p c maxlen 2
lpos p c maxlen 3
lpos p c maxlen 0
lpos p c maxlen -1
lpos p c maxlen 7 count 0
lpos p c rank -1 maxlen 1 count 0
lpos p none count 2
lpos none c count 2
lpos none c
lpos p c rank
lpos p c foo 1
lpos p
lrem p 1 c
lrange p 0 -1
lrem p -1 c
lrange p 0 -1
lrem p 0 none
lrem none 0 c
lrem s 0 c
lrem p x c
lrem p -9223372036854775808 c
rpush p c c a c
lrem p -2 c
lrange p 0 -1
lrem p 0 c
lrange p 0 -1
lrem p 0 a
lrem p 0 b
lrem p 0 1
lrem p 0 2
lrem p 0 3
exists p
rpush t 1 2 3 4 5 6 7
ltrim t 1 -2
lrange t 0 -1
ltrim t 0 100
lrange t 0 -1
ltrim t -2 -1
lrange t 0 -1
ltrim t 5 10
exists t
ltrim none 0 1
ltrim s 0 1
ltrim t x 1
ltrim t 1
rpush q 1 2 3 4 5 6 7 8
lpop q
rpop q
lpop q 2
rpop q 2
lpop q 0
lpop q -1
lpop q x
lpop q 1 2
lpop none
lpop none 0
lpop none 2
rpop none 2
lpop s
lpop s 1
lpop s x
lpop q 100
exists q
lpop q
rpush a 1 2 3
rpoplpush a b
rpoplpush a b
rpoplpush a b
exists a
lrange b 0 -1
rpoplpush none b
rpoplpush b s
rpoplpush s b
rpoplpush none s
rpoplpush b b
lrange b 0 -1
rpoplpush b
lmove b b left right
lrange b 0 -1
lmove b b left left
lrange b 0 -1
lmove b a right left
lmove b a left right
lmove b a LEFT RIGHT
lmove b a left right
lrange a 0 -1
lmove a b foo left
lmove a b left foo
lmove none b left left
lmove s b left left
lmove a s left left
lmove none s left left
lmove a b left
del b
rpush b only
rpoplpush b b
lmove b b left right
lrange b 0 -1
lmpop 1 a left
lmpop 2 none a right
lmpop 2 none a right count 5
exists a
lmpop 1 a left
lmpop 2 a b left count 1
lmpop 1 s left
lmpop 2 none s left
lmpop 0 a left
lmpop -1 a left
lmpop x a left
lmpop 2 a left
lmpop 1 a foo
lmpop 1 a left count
lmpop 1 a left count 0
lmpop 1 a left count -1
lmpop 1 a left count x
lmpop 1 a left foo 1
lmpop 1 a left count 1 count 2
lmpop 1 a left count 1 foo
lmpop 1 a
type l
object encoding l
get l
hget l a
sadd l a
append l x
copy l m
lrange m 0 -1
rename m m2
lrange m2 0 -1
rename m2 l
lrange l 0 -1
expire l 1000
rpush l x
ttl l
persist l
del l
exists l
rpush "" ""
lrange "" 0 -1
scan 0 count 1000 type list
`

func TestAnswersAboutListsAreThoseOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	converse(t, a, b, lists)
	for _, p := range []*peer{a, b} {
		p.must(t, "flushall")
		p.must(t, "hello", "3")
	}
	converse(t, a, b, lists)
}
