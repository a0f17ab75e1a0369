package kv

import "testing"

// sorts is a conversation about SORT.
const sorts = `
rpush l 3 1 2 10 -5 1.5
sort l
sort l desc
sort l asc
sort l alpha
sort l alpha desc
sort l limit 1 2
sort l limit 0 0
sort l limit -1 2
sort l limit 100 2
sort l limit 1 -1
sort l limit 1 -5
sort l limit x 1
sort l limit 1
sort l foo
sort l by
sort l get
sort l store
sort_ro l
sort_ro l store x
sort none
sort none store x
sort none alpha desc limit 0 1 get #
rpush w a b ""
sort w
sort w alpha
rpush e "" 1 -1
sort e
rpush bad 1 2x
sort bad
rpush nan 1 nan
sort nan
rpush hex 0x10 15 1e1 inf -inf
sort hex
set s 1
sort s
hset h a 1
sort h
rpush ids 1 2 3 4
mset w1 30 w2 10 w3 20 n1 one n2 two n3 three
sort ids by w*
sort ids by w* desc
sort ids by w* get n*
sort ids by w* get # get n* get none*
sort ids by w* get # get n* limit 1 2
sort ids by n* alpha
sort ids by n* alpha desc
sort ids by n*
sort ids by nosort
sort ids by nosort desc
sort ids by nosort desc limit 1 2
sort ids by nosort desc store d
lrange d 0 -1
sort ids by nosort get n* limit 1 2
sort ids by nosort* get n*
sort ids by none* alpha
hset h1 f 5 name x
hset h2 f 3
hset h3 f 9 name z
sort ids by h*->f
sort ids by h*->f get h*->name get #
sort ids by h*->none
sort ids by h*
sort ids get h*
sort ids get s
sort ids get w*->
sort ids get w*->f
sort ids get h*->f
sort ids get nothing
sort ids by w* store d
lrange d 0 -1
sort ids by w* get n* get # store d
lrange d 0 -1
sort ids limit 10 1 store d
exists d
sort ids store ids
lrange ids 0 -1
sort ids desc store s
type s
sadd set 3 1 2 20
sort set
sort set desc
sort set alpha
sort set by nosort store d
lrange d 0 -1
sort set by nosort desc store d
lrange d 0 -1
sadd words b a c
sort words
sort words alpha
sort words alpha desc limit 0 2
zadd z 3 a 2 b 1 c 5 10
sort z
sort z alpha
sort z alpha desc
sort z by nosort
sort z by nosort desc
sort z by nosort limit 1 2
sort z by nosort desc limit 1 2
sort z by nosort store d
lrange d 0 -1
rpush dup 1 1.0 01 1
sort dup
sort dup desc
sort
sort l by w* by nosort
sort l alpha asc desc
command getkeys sort abc store def
command getkeys sort abc by x get y limit 0 store store def store ghi
command getkeys sort abc store
command getkeys sort_ro abc store def
command getkeys zunionstore d 2 a b weights 1 2
command getkeys zunionstore d 3 a b
command getkeys zunion 2 a b
command getkeys zunion 0 a b
command getkeys zunion x a b
command getkeys zinterstore d 1 a
command getkeys zdiff 1 a
command getkeys zintercard 2 a b limit 1
command getkeys sintercard 1 a
command getkeys lmpop 2 a b left
command getkeys blmpop 0 2 a b left
command getkeys bzmpop 0 1 a min
command getkeys zmpop 1 a min
command getkeys blpop a b 0
command getkeys lmove a b left left
command getkeys zrangestore a b 0 1
command getkeys ping
rpush big 1e400 1
sort big
`

func TestAnswersAboutSortAreThoseOfRedis(t *testing.T) {
	for _, version := range []string{"2", "3"} { // of Redis, a fresh one: once a number was out of range, it takes no other
		a, b := connect(t, redis(t)), connect(t, serve(t))
		for _, p := range []*peer{a, b} {
			p.must(t, "hello", version)
		}
		converse(t, a, b, sorts)
	}
}
