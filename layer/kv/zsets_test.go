package kv

import "testing"

// zsets is a conversation about sorted sets.
const zsets = `
set s 1
sadd set b c x
zadd z 1 a
zadd z 1 a 2 b 3 c
zadd z 2 a 2 b
zadd z ch 1 a 2 b 5 d
zadd z nx 9 a 9 e
zadd z xx 8 e 9 none
zadd z xx ch 7 e
zadd z gt 6 e
zadd z gt ch 10 e
zadd z lt ch 11 e
zadd z lt ch 9 e
zadd z gt 1 new
zadd z nx xx 1 a
zadd z nx gt 1 a
zadd z gt lt 1 a
zadd z nx lt 1 a
zadd z incr 5 a
zadd z incr 5 a 6 b
zadd z nx incr 5 a
zadd z xx incr 5 nobody
zadd z gt incr -5 a
zadd z lt incr -5 a
zadd z incr x a
zadd z x a
zadd z 1 a x b
zadd z 1 a 2
zadd z 1
zadd z nx
zadd z nx nx ch 1 q
zadd z foo 1 a
zadd z nan a
zadd z inf i
zadd z -inf j
zadd z incr -inf i
zadd z incr inf j
zadd z incr 1 i
zadd s 1 a
zadd none xx 1 a
zadd none xx incr 1 a
exists none
zadd f 0.1 a 1e20 b 1e17 c 123456789012345 d -0 e 0.30000000000000004 f 1e-5 g 3.0 h 1e400 i
zadd f 0.1 a 1e20 b 1e17 c 123456789012345 d -0 e 0.30000000000000004 f 1e-5 g 3.0 h 1e16 i 12345678901234567890 j 0x10 k -1.5e-300 l
zadd f 1e-400 u
zadd f +5 p
zadd f .5 q
zadd f 5. r
zadd f 1e s
zadd f 1_0 s
zadd f "" s
zadd f infinity v
zadd f -Inf w
zrange f 0 -1 withscores
zscan f 0
zscore f a
zscore f none
zscore none a
zscore s a
zscore f
zmscore f a none b
zmscore none a b
zmscore s a
zmscore f
zcard z
zcard none
zcard s
zincrby z 5 a
zincrby z -2.5 a
zincrby z 1 fresh
zincrby z x a
zincrby z inf k
zincrby z -inf k
zincrby s 1 a
zincrby n 1 a
zrem n a
exists n
zincrby z 1
zrank z a
zrank z none
zrank none a
zrank s a
zrevrank z a
zrevrank z none
zrevrank none a
zrank z
zrem z k i j
zrem z none
zrem none a
zrem s a
zrem z
zrange z 0 -1
zrange z 0 -1 withscores
zrange z 0 -1 WITHSCORES withscores
zrange z -2 -1
zrange z 1 0
zrange z 5 100
zrange z -100 0
zrange z x 1
zrange z 0 x
zrange z 0 -1 rev
zrange z 0 1 rev withscores
zrange z 0 -1 rev rev
zrange z 0 -1 foo
zrange z 0 -1 limit 0 1
zrange z 0 -1 limit 0 -1
zrange z 0 -1 limit 0
zrange z 0 -1 limit x 1
zrange none 0 -1
zrange none x -1
zrange s 0 -1
zrange z 0
zrange z 1 3 byscore
zrange z (1 3 byscore
zrange z 1 (3 byscore withscores
zrange z -inf +inf byscore
zrange z inf -inf byscore
zrange z inf -inf byscore rev
zrange z 3 1 byscore rev
zrange z 3 1 byscore rev limit 0 1
zrange z 0 100 byscore limit 1 2
zrange z 0 100 byscore limit 1 -1
zrange z 0 100 byscore limit -1 2
zrange z 0 100 byscore limit 100 2
zrange z 0 100 byscore limit 0 0
zrange z x 100 byscore
zrange z 0 (x byscore
zrange z nan 1 byscore
zrange z ( 100 byscore
zrange z "" 100 byscore
zrange z 0 1e400 byscore
zrange z 0 1 byscore bylex
zrange z 0 1 bylex
zrange z - + bylex withscores
zrevrange z 0 -1
zrevrange z 0 1 withscores
zrevrange z 0 1 byscore
zrevrange z 0 1 rev
zrevrange none 0 1
zrangebyscore z 1 5
zrangebyscore z (1 (5 withscores
zrangebyscore z -inf +inf limit 1 2
zrangebyscore z -inf +inf withscores limit 1 2
zrangebyscore z -inf +inf limit 1
zrangebyscore z -inf +inf rev
zrangebyscore z x 1
zrangebyscore none 1 2
zrevrangebyscore z 5 1
zrevrangebyscore z +inf -inf limit 0 2
zrevrangebyscore z 1 5
zcount z 1 5
zcount z (1 (5
zcount z -inf inf
zcount z 5 1
zcount z x 1
zcount none 1 2
zcount none x 2
zcount s 1 2
zadd l 0 a 0 b 0 c 0 d 0 aa 0 "" 0 ab
zrange l [a [c bylex
zrange l (a (c bylex
zrange l - + bylex
zrange l + - bylex
zrange l + - bylex rev
zrange l [c [a bylex rev limit 1 2
zrange l [c [a bylex
zrange l a c bylex
zrange l [a bylex
zrange l [ ( bylex
zrange l -- + bylex
zrange l [a [a bylex
zrange l (a (a bylex
zrange l - [b bylex limit 1 2
zrange l - ( bylex
zrangebylex l - [c
zrangebylex l - + limit 1 2
zrangebylex l - + withscores
zrangebylex l x +
zrevrangebylex l [c -
zrevrangebylex l + - limit 2 2
zrevrangebylex l - +
zrangebylex none - +
zrangebylex s - +
zlexcount l - +
zlexcount l [a [b
zlexcount l (a (b
zlexcount l + -
zlexcount l x +
zlexcount none - +
zlexcount none x +
zrangestore d z 0 -1
zrange d 0 -1 withscores
zrangestore d z 0 1 rev
zrange d 0 -1 withscores
zrangestore d z 1 5 byscore limit 0 2
zrange d 0 -1 withscores
zrangestore d l [b [d bylex
zrange d 0 -1 withscores
zrangestore d z 5 1
exists d
zrangestore d none 0 -1
zrangestore d s 0 -1
zrangestore d z 0 -1 withscores
zrangestore d z 0 -1 limit 0 1
zrangestore z z 0 -2
zrange z 0 -1 withscores
zrangestore s2 z 0
zadd r 1 a 2 b 3 c 4 d 5 e 6 f 7 g
zremrangebyrank r 0 0
zremrangebyrank r -1 -1
zremrangebyrank r 5 3
zremrangebyrank r x 3
zremrangebyrank none 0 1
zremrangebyrank s 0 1
zrange r 0 -1 withscores
zremrangebyscore r (2 3
zremrangebyscore r 100 200
zremrangebyscore r x 3
zremrangebyscore none x 3
zremrangebyscore none 1 3
zrange r 0 -1
zremrangebyscore r -inf inf
exists r
zadd r 0 a 0 b 0 c 0 d
zremrangebylex r [b (d
zremrangebylex r x (d
zremrangebylex r + -
zrange r 0 -1
zremrangebylex r - +
exists r
zadd p 1 a 2 b 3 c 4 d 5 e 6 f
zpopmin p
zpopmax p
zpopmin p 2
zpopmax p 0
zpopmax p -1
zpopmax p x
zpopmax p 1 2
zpopmin p 100
exists p
zpopmin p
zpopmin p 1
zpopmin s
zpopmin s 0
zpopmin none 0
zadd p 1 a 2 b 3 c 4 d 5 e 6 f
zmpop 1 p min
zmpop 2 none p max
zmpop 1 p max count 2
zmpop 1 s max
zmpop 2 none s max
zmpop 1 none max
zmpop 0 p max
zmpop x p max
zmpop 3 p max
zmpop 1 p foo
zmpop 1 p min count
zmpop 1 p min count 0
zmpop 1 p min count x
zmpop 1 p min count 1 count 2
zmpop 1 p min foo 1
zmpop 1 p min count 100
exists p
zmpop 1 p
zadd p 1 a 2 b
bzpopmin p 0
bzpopmax none p 0
bzpopmin p 0.01
bzpopmin s 0
bzpopmin none s 0
bzpopmin p -1
bzpopmin p x
bzpopmin p
bzmpop 0.01 1 p min
bzmpop 0 1 s min
bzmpop x 1 p min
bzmpop 0 0 p min
bzmpop 0 1 p foo
bzmpop 0 1 p min count 0
zadd p 1 a 2 b 3 c
bzmpop 0 2 none p min count 2
bzmpop 0 1 p
bzmpop 0 1 p max
zadd a 1 a 2 b 3 c inf i
zadd b 10 b 20 c 30 d -inf i
zunion 2 a b
zunion 2 a b withscores
zunion 2 a b weights 2 3 withscores
zunion 2 a b weights 2 0 withscores
zunion 2 a b weights 2 x
zunion 2 a b weights 2 nan
zunion 2 a b weights 2
zunion 2 a b weights inf 1 withscores
zunion 2 a b aggregate min withscores
zunion 2 a b aggregate max withscores
zunion 2 a b aggregate sum withscores
zunion 2 a b aggregate avg
zunion 2 a b aggregate
zunion 2 a b foo
zunion 2 a set withscores
zunion 2 set a weights 5 1 withscores
zunion 1 none
zunion 2 none a
zunion 1 s
zunion 2 a s foo
zunion 0 a
zunion -1 a
zunion x a
zunion 3 a b
zunion 2 a
zunion 2 a a withscores
zinter 2 a b
zinter 2 a b withscores
zinter 2 a b weights 2 3 aggregate max withscores
zinter 2 a set withscores
zinter 2 a none withscores
zinter 1 a withscores
zinter 2 a a withscores
zinter 2 s a
zinter 0 a
zdiff 2 a b
zdiff 2 a b withscores
zdiff 2 a set withscores
zdiff 2 none a
zdiff 1 a withscores
zdiff 2 a a
zdiff 2 a b weights 1 2
zdiff 2 a b aggregate sum
zdiff 2 a s
zdiff 0 a
zunionstore o 2 a b
zrange o 0 -1 withscores
zunionstore o 2 a b weights 1 2 aggregate min
zrange o 0 -1 withscores
zunionstore o 2 a b withscores
zunionstore o 2 o o
zrange o 0 -1 withscores
zunionstore s3 1 s
zunionstore o 1 none
exists o
zunionstore o 0 a
zunionstore o 3 a b
zunionstore o 1
zinterstore o 2 a b
zrange o 0 -1 withscores
zinterstore o 2 a none
exists o
zinterstore o 2 a set weights 2 3
zrange o 0 -1 withscores
zdiffstore o 2 a b
zrange o 0 -1 withscores
zdiffstore o 2 a a
exists o
zintercard 2 a b
zintercard 2 a b limit 1
zintercard 2 a b limit 0
zintercard 2 a b limit -1
zintercard 2 a b limit x
zintercard 2 a b limit
zintercard 2 a b foo 1
zintercard 2 a none
zintercard 1 s
zintercard 0 a
zintercard x a
zintercard 3 a b
zadd one 1.5 x
zrandmember one
zrandmember one 1
zrandmember one 5 withscores
zrandmember one -3
zrandmember one -3 withscores
zrandmember one 0
zrandmember one x
zrandmember one 1 foo
zrandmember one 1 withscores foo
zrandmember one -9223372036854775808
zrandmember one 9223372036854775807 withscores
zrandmember none
zrandmember none 1
zrandmember none 1 withscores
zrandmember s
zscan z 0
zscan z 0 match a*
zscan z 0 count 1
zscan z x
zscan z 0 foo
zscan none 0
zscan s 0
type z
object encoding z
zadd z 1 1234567890123456789012345678901234567890123456789012345678901234
object encoding z
zadd z 1 12345678901234567890123456789012345678901234567890123456789012345
object encoding z
zscan f 0 match a
config set zset-max-ziplist-entries 2
config get zset-max-listpack-entries
config get zset-max-ziplist-value
zadd big 1 a 2 b
object encoding big
zadd big 1 c
object encoding big
zadd big 1e17 d 5 e inf g
zscan big 0
config set zset-max-listpack-entries 128
config get list-max-listpack-size
config get list-compress-depth
config set list-max-ziplist-size 5 list-compress-depth 2
config get list-max-listpack-size
config get list-compress-depth
config set list-max-ziplist-size -2 list-compress-depth 0
config set hash-max-ziplist-value x
config set hash-max-ziplist-value -1
get z
sadd z a
lpush z a
copy z zz
zrange zz 0 -1 withscores
rename zz zy
zrange zy 0 -1 withscores
expire zy 1000
zadd zy 1 a
ttl zy
del zy
scan 0 count 1000 type zset
sunionstore x z
sunion z
`

func TestAnswersAboutSortedSetsAreThoseOfRedis(t *testing.T) {
	a, b := connect(t, redis(t)), connect(t, serve(t))
	converse(t, a, b, zsets)
	for _, p := range []*peer{a, b} {
		p.must(t, "flushall")
		p.must(t, "hello", "3")
	}
	converse(t, a, b, zsets)
}

// TestClientsThatWaitForSortedSetsAreServedAsByRedis has clients wait for lists and for sorted sets at the same keys.
func TestClientsThatWaitForSortedSetsAreServedAsByRedis(t *testing.T) {
	dialogue(t, `
a> bzpopmin z 0
b> bzpopmax z 0
c> bzmpop 0 2 none z max count 2
d: zadd z 1 a 2 b 3 c 4 d 5 e
a<
b<
c<
d: zrange z 0 -1 withscores
d: del z
a> bzpopmin z 0
b> blpop z 0
d: rpush z x
b<
d: zadd z 1 a
a<
a> blpop z 0
b> bzpopmin z 0
d: sadd z x
d: del z
d: zadd z 1 a
b<
d: rpush z x
a<
a> bzpopmin z 0
d: sadd set a b
d: zunionstore z 1 set
a<
d: del z
a> bzpopmin z 0
d: zadd other 1 a 2 b
d: zrangestore z other 0 0
a<
a> bzpopmax z y 0
d: multi
d: zadd y 1 a
d: zadd z 2 b
d: exec
a<
d: del z
a> bzpopmax z 0
d: multi
d: zadd z 2 b
d: del z
d: exec
d: zincrby z 5 x
a<
a: multi
a: bzpopmin z 0
a: bzmpop 0 1 z min
a: exec
a: bzpopmin z 0.01
a: hello 3
a> bzpopmin z 0
d: zadd z 2.5 b
a<
a> bzmpop 0 1 z min count 5
d: zadd z 2.5 b 3 c
a<
a: bzpopmin z 0.01
`)
}
