package kv

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"usui/layer/kv/disk"
	"usui/layer/kv/disktest"
	"usui/layer/kv/engine"
)

// places are the values of some keys, and the elements of some lists, as a text that can be compared: a line for each key, "" if it is not there.
type places [6]string

// Names of those keys: strings, and then lists, whose elements have commas between them.
var placeNames = [len(places{})]string{"s0", "s1", "s2", "s3", "l0", "l1"}

const firstList = 4

func (p *places) at(key string) *string { return &p[slices.Index(placeNames[:], key)] }

// keyspace is what several keys do together. Its input is the words of a command, its output the reply; an EXEC stands for its transaction.
var keyspace = porcupine.Model{
	Init: func() any { return places{} },
	Step: func(state, input, output any) (bool, any) {
		before, words, got := state.(places), input.([]string), output.(string)
		after := before
		want := after.apply(words, got)
		return want == got, after
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%q = %q", input, output) },
}

func orNothing(value string) string {
	if value == "" {
		return nothing
	}
	return bulk(value)
}

func integer(n int) string { return fmt.Sprintf(":%d\r\n", n) }

// apply does a command and returns its reply. What was replied tells what became of an attempt that another client may have spoiled.
func (p *places) apply(words []string, got string) string {
	switch words[0] {
	case "get":
		return orNothing(*p.at(words[1]))
	case "set":
		*p.at(words[1]) = words[2]
		return "+OK\r\n"
	case "mset":
		for i := 1; i < len(words); i += 2 {
			*p.at(words[i]) = words[i+1]
		}
		return "+OK\r\n"
	case "mget":
		reply := fmt.Sprintf("*%d\r\n", len(words)-1)
		for _, key := range words[1:] {
			reply += orNothing(*p.at(key))
		}
		return reply
	case "del":
		n := 0
		for _, key := range words[1:] {
			if *p.at(key) != "" {
				*p.at(key) = ""
				n++
			}
		}
		return integer(n)
	case "rename":
		from := p.at(words[1])
		if *from == "" {
			return "-ERR no such key\r\n"
		}
		if *p.at(words[2]) = *from; words[1] != words[2] {
			*from = ""
		}
		return "+OK\r\n"
	case "copy":
		if words[1] == words[2] {
			return "-ERR source and destination objects are the same\r\n"
		}
		if *p.at(words[1]) == "" || *p.at(words[2]) != "" {
			return integer(0)
		}
		*p.at(words[2]) = *p.at(words[1])
		return integer(1)
	case "flushall":
		*p = places{}
		return "+OK\r\n"
	case "dbsize":
		n := 0
		for _, v := range p {
			if v != "" {
				n++
			}
		}
		return integer(n)
	case "rpush":
		l := p.at(words[1])
		*l = strings.TrimPrefix(*l+","+words[2], ",")
		return integer(1 + strings.Count(*l, ","))
	case "lpop", "blpop":
		l := p.at(words[1])
		element, rest, _ := strings.Cut(*l, ",")
		*l = rest
		switch {
		case words[0] == "lpop":
			return orNothing(element)
		case element == "":
			return "*-1\r\n"
		}
		return "*2\r\n" + bulk(words[1]) + bulk(element)
	case "lmove":
		from, to := p.at(words[1]), p.at(words[2])
		element, rest, _ := strings.Cut(*from, ",")
		if element == "" {
			return nothing
		}
		*from = rest
		*to = strings.TrimPrefix(*to+","+element, ",")
		return bulk(element)
	case "exec": // MULTI, MSET of two keys, MGET of them, EXEC
		*p.at(words[1]), *p.at(words[2]) = words[3], words[3]
		return "*2\r\n+OK\r\n*2\r\n" + bulk(words[3]) + bulk(words[3])
	case "swap": // WATCH of a key that has words[3], MULTI, SET of another one, EXEC
		if got == "*-1\r\n" {
			return got
		}
		if orNothing(*p.at(words[1])) != words[3] {
			return "it has another value"
		}
		*p.at(words[2]) = words[4]
		return "*1\r\n+OK\r\n"
	}
	return "unknown"
}

// attempt makes a command by chance, has the server do it, and returns it with the reply to its last part.
func attempt(p *peer, random *rand.Rand, token string) (words []string, reply string, err error) {
	s := func() string { return placeNames[random.IntN(firstList)] }
	l := func() string { return placeNames[firstList+random.IntN(len(placeNames)-firstList)] }
	pair := func() (a, b string) {
		i := random.IntN(firstList)
		return placeNames[i], placeNames[(i+1+random.IntN(firstList-1))%firstList]
	}
	a, b := pair()
	switch random.IntN(16) {
	case 0:
		words = []string{"get", a}
	case 1:
		words = []string{"set", a, token}
	case 2:
		words = []string{"mset", a, token, b, token}
	case 3, 4:
		words = append([]string{"mget"}, placeNames[:firstList]...)
	case 5:
		words = []string{"del", a, b, l()}[:2+random.IntN(3)]
		if len(words) > 2 { // of several keys it is as many commands as there are keys after a crash, but one for others
			words = words[:3]
		}
	case 6:
		words = []string{"rename", a, s()}
	case 7:
		words = []string{"copy", a, s()}
	case 8:
		if words = []string{"dbsize"}; random.IntN(4) == 0 {
			words = []string{"flushall"}
		}
	case 9, 10:
		words = []string{"rpush", l(), token}
	case 11:
		words = []string{"lpop", l()}
	case 12:
		words = []string{"lmove", l(), l(), "left", "right"}
	case 13:
		words = []string{"blpop", l(), "0.002"}
	case 14:
		for _, c := range [][]string{{"multi"}, {"mset", a, token, b, token}, {"mget", a, b}} {
			if _, err := p.do(c...); err != nil {
				return nil, "", err
			}
		}
		reply, err = p.do("exec")
		return []string{"exec", a, b, token}, reply, err
	case 15:
		if _, err := p.do("watch", a); err != nil {
			return nil, "", err
		}
		seen, err := p.do("get", a)
		if err != nil {
			return nil, "", err
		}
		for _, c := range [][]string{{"multi"}, {"set", b, token}} {
			if _, err := p.do(c...); err != nil {
				return nil, "", err
			}
		}
		reply, err = p.do("exec")
		return []string{"swap", a, b, seen, token}, reply, err
	}
	reply, err = p.do(words...)
	return words, reply, err
}

// TestHistoriesOverShardsAreLinearizable has clients of several loops share keys of several shards, by commands of one key and of several, transactions, watched keys, blocking ones
// and some that are about all keys. There must be one order that explains all replies.
func TestHistoriesOverShardsAreLinearizable(t *testing.T) {
	const clients, commands, histories = 5, 30, 60
	address, _ := serveFolder(t, disktest.New(), func(c *Config) { c.Loops = 4 })
	admin := connect(t, address)
	var peers []*peer
	for range clients {
		p, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		peers = append(peers, p)
	}
	for seed := range uint64(histories) {
		admin.must(t, "flushall")
		h := history{begun: time.Now()}
		var all sync.WaitGroup
		for i, p := range peers {
			all.Go(func() { // ends after its commands
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				for n := range commands {
					call := h.now()
					words, reply, err := attempt(p, random, fmt.Sprint(i, ".", n))
					if err != nil {
						t.Error(err)
						return
					}
					h.add(porcupine.Operation{ClientId: i, Input: words, Call: call, Output: reply, Return: h.now()})
				}
			})
		}
		all.Wait()
		if result := porcupine.CheckOperationsTimeout(keyspace, h.ops, time.Minute); result != porcupine.Ok {
			for _, op := range h.ops {
				t.Logf("%d: %d to %d: %s", op.ClientId, op.Call, op.Return, keyspace.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("history %d: %v that an order explains it", seed, result)
		}
	}
}

// accounts of the bank, each in whatever shard it falls.
const accounts, funds = 12, 1000

func account(i int) string { return fmt.Sprint("account:", i) }

// transfer moves something between two accounts, by a transaction that fails if another client was quicker.
func transfer(p *peer, random *rand.Rand) error {
	from, to := account(random.IntN(accounts)), account(random.IntN(accounts))
	if from == to {
		return nil
	}
	if _, err := p.do("watch", from); err != nil {
		return err
	}
	has, err := p.do("get", from)
	if err != nil {
		return err
	}
	if has == bulk("0") {
		_, err := p.do("unwatch")
		return err
	}
	for _, c := range [][]string{{"multi"}, {"decr", from}, {"incr", to}, {"exec"}} {
		if _, err := p.do(c...); err != nil {
			return err
		}
	}
	return nil
}

// audit reads all accounts at one moment.
func audit(p *peer) error {
	words := []string{"mget"}
	for i := range accounts {
		words = append(words, account(i))
	}
	r, err := p.do(words...)
	if err != nil {
		return err
	}
	sum := 0
	for i, line := range strings.Split(strings.TrimSuffix(r, "\r\n"), "\r\n") {
		if i > 0 && i%2 == 0 {
			n := 0
			if _, err := fmt.Sscan(line, &n); err != nil || n < 0 {
				return fmt.Errorf("an account has %q", line)
			}
			sum += n
		}
	}
	if sum != accounts*funds {
		return fmt.Errorf("the accounts have %d, want %d", sum, accounts*funds)
	}
	return nil
}

// scanAll looks for what is there all the time.
func scanAll(p *peer) error {
	met := map[string]bool{}
	for cursor := "0"; ; {
		r, err := p.do("scan", cursor, "count", "50")
		if err != nil {
			return err
		}
		lines := strings.Split(r, "\r\n")
		cursor = lines[2]
		for _, line := range lines[4:] {
			met[line] = true
		}
		if cursor == "0" {
			break
		}
	}
	for i := range accounts {
		if !met[account(i)] {
			return fmt.Errorf("a scan did not meet %s", account(i))
		}
	}
	return nil
}

// round is something that a client does.
func round(p *peer, n, i int, random *rand.Rand) (err error) {
	tokens := func() string { return fmt.Sprint("tokens:", random.IntN(8)) }
	own, pair := fmt.Sprint("own:", n), fmt.Sprintf("{pair}:%d:", random.IntN(8))
	switch random.IntN(8) {
	case 0:
		return transfer(p, random)
	case 1:
		return audit(p)
	case 2:
		_, err = p.do("blmove", tokens(), tokens(), "left", "right", "0.01")
		return err
	case 3:
		_, err = p.do("lmove", tokens(), tokens(), "right", "left")
		return err
	case 4: // two keys that always have the same
		value := fmt.Sprint(n, ".", i)
		if _, err := p.do("mset", pair+"a", value, pair+"b", value); err != nil {
			return err
		}
		r, err := p.do("mget", pair+"a", pair+"b")
		if lines := strings.Split(r, "\r\n"); err == nil && (len(lines) < 5 || lines[2] != lines[4]) {
			err = fmt.Errorf("a pair is %q", r)
		}
		return err
	case 5: // what expires
		if _, err := p.do("set", fmt.Sprint("short:", random.IntN(100)), own, "px", fmt.Sprint(1+random.IntN(30))); err != nil {
			return err
		}
		_, err = p.do("randomkey")
		return err
	case 6:
		if i%20 == 0 {
			return scanAll(p)
		}
	}
	if _, err := p.do("set", own, fmt.Sprint(i)); err != nil {
		return err
	}
	r, err := p.do("get", own)
	if want := bulk(fmt.Sprint(i)); err == nil && r != want {
		err = fmt.Errorf("%s is %q, want %q", own, r, want)
	}
	return err
}

// TestShardsKeepWhatBelongsTogether has clients of several loops move money and tokens between keys of all shards while others read them, scan, and write what expires. Nothing is lost, made or
// seen in part, and what is there at the end is there whatever the number of loops with which the folder is served again.
func TestShardsKeepWhatBelongsTogether(t *testing.T) {
	const workers, rounds, tokens = 8, 250, 40
	path := t.TempDir()
	open := func(loops int) (address string, stop func()) {
		folder, err := disk.Open(path, engine.IsOurs, disk.Auto)
		if err != nil {
			t.Fatal(err)
		}
		return serveFolder(t, folder, func(c *Config) { c.Loops = loops })
	}
	address, stop := open(4)
	admin := connect(t, address)
	for i := range accounts {
		admin.must(t, "set", account(i), fmt.Sprint(funds))
	}
	for i := range tokens {
		admin.must(t, "rpush", "tokens:0", fmt.Sprint("token:", i))
	}
	var all sync.WaitGroup
	for n := range workers {
		p, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		all.Go(func() { // ends after its rounds
			random := rand.New(rand.NewPCG(uint64(n), 7))
			for i := range rounds {
				if err := round(p, n, i, random); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	was := contents(t, admin)
	if err := audit(admin); err != nil {
		t.Error(err)
	}
	for i := range tokens {
		if n := strings.Count(was, fmt.Sprintf("\r\ntoken:%d\r\n", i)); n != 1 {
			t.Errorf("token %d is there %d times", i, n)
		}
	}
	for _, loops := range []int{1, 4, 2} {
		stop()
		address, stop = open(loops)
		if is := contents(t, connect(t, address)); is != was {
			t.Errorf("with %d loops there is %q; there was %q", loops, is, was)
		}
	}
}

// contents is what does not expire.
func contents(t *testing.T, c *peer) (all string) {
	t.Helper()
	for i := range accounts {
		all += c.must(t, "get", account(i))
	}
	for i := range 8 {
		all += c.must(t, "lrange", fmt.Sprint("tokens:", i), "0", "-1")
		all += c.must(t, "mget", fmt.Sprintf("{pair}:%d:a", i), fmt.Sprintf("{pair}:%d:b", i), fmt.Sprint("own:", i))
	}
	return all
}
