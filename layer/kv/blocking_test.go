package kv

import "testing"

// TestBlockedClientsAreServedAsByRedis has clients wait for lists in all ways there are.
func TestBlockedClientsAreServedAsByRedis(t *testing.T) {
	dialogue(t, `
a: rpush l 1 2 3
a: blpop l 0
a: brpop none l 0
a: blpop none l 0.01
a: blpop none 0.01
a: brpop none none2 0.001
a: blmove none x left right 0.01
a: brpoplpush none x 0.01
a: blmpop 0.01 1 none left
a: blmpop 0.01 2 none l left
a: set s 1
a: blpop s 0
a: blpop none s 0
a: blpop s none 0
a: blpop none -1
a: blpop none x
a: blpop none ""
a: blpop none nan
a: blpop none inf
a: blpop none -inf
a: blpop none 1e300
a: blpop none 9223372036854775807
a: blpop none 9223372036854776
a: blpop none 0.0000001
a: blpop none
a: blpop
a: blmove none x foo left 0
a: blmove none x left foo 0
a: blmove none x left left y
a: blmove s x left left 0
a: blmove none x left left
a: brpoplpush s x 0
a: brpoplpush none x y
a: blmpop x 1 none left
a: blmpop -1 1 none left
a: blmpop 0 0 none left
a: blmpop 0 2 none left
a: blmpop 0 1 none foo
a: blmpop 0 1 none left count 0
a: blmpop 0 1 none left count
a: blmpop 0 1 none left foo 1
a: blmpop 0 1 s left
a: blmpop 0 1
a: del l
a> blpop l 0
b: rpush l 1
a<
b: exists l
a> blpop l 0
b: rpush l 1 2 3
a<
b: lrange l 0 -1
b: del l
a> brpop l m 0
b: lpush m 1 2 3
a<
b: lrange m 0 -1
b: del m
a> blpop l 0
b> brpop l 0
c> blmpop 0 2 k l right count 2
d: rpush l 1 2 3
a<
b<
c<
d: exists l
a> blpop l 0
b> blpop l 0
d: rpush l 1
a<
d: rpush l 2
b<
a> blmove l m left right 0
d: rpush l x y
a<
d: lrange m 0 -1
d: del l m
a> brpoplpush l l 0
d: rpush l x
a<
d: lrange l 0 -1
d: del l
a> blmove l m left left 0
b> blmove m n left left 0
c> blpop n 0
d: rpush l chain
a<
b<
c<
d: exists l m n
a> blmove l s left left 0
d: rpush l x
a<
d: lrange l 0 -1
d: del l
a> blmove l s left left 0
b> blpop l 0
d: rpush l x
a<
b<
a> blpop l 0
d: set l x
d: del l
d: sadd l x
d: del l
d: rpush l x
a<
a> blpop l 0
d: multi
d: rpush l x
d: del l
d: exec
d: multi
d: rpush l 1
d: rpush l 2
d: lpop l
d: exec
a<
a> blpop l m 0
d: multi
d: rpush m 1
d: rpush l 2
d: exec
a<
d: lrange l 0 -1
d: del l
a> blpop l 0
d: rpush other 1 2
d: rename other l
a<
d: del l
a> blpop l 0
d: rpush other 1 2
d: copy other l
a<
d: del l
a> blpop l 0
d: lmove other l left left
a<
a> blpop l l 0
d: rpush l 1
a<
a: multi
a: blpop none 0
a: blmove none x left left 0
a: brpoplpush none x 0
a: blmpop 0 1 none left
a: exec
a> blpop l 0
d: client unblock 0
d: client unblock x
d: client unblock 1 foo
d: client unblock 1 error foo
d: rpush l x
a<
a: client unblock 99999
a> blpop l 0
d: flushall
d: rpush l x
a<
d: watch l
a> blpop l 0
b: rpush l 1 2
a<
d: multi
d: get x
d: exec
b: del l
a: hello 3
a> blpop l 0
b: rpush l x
a<
a: blpop l 0.01
a: blmove l m left left 0.01
a: multi
a: blpop l 0
a: blmove l m left left 0
a: exec
`)
}
