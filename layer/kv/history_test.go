package kv

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// asked is a command of a history, and answered its reply.
type (
	asked    struct{ command, key, value string }
	answered struct {
		reply string
		lost  bool // the server died before it replied: it did so or did not
	}
)

// register is what one key does, as Redis' documentation has it. Its state is what GET replies.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string]int{}
		for _, op := range history {
			key := op.Input.(asked).key
			at, ok := by[key]
			if !ok {
				at = len(parts)
				by[key], parts = at, append(parts, nil)
			}
			parts[at] = append(parts[at], op)
		}
		return parts
	},
	Init: func() any { return nothing },
	Step: func(state, input, output any) (bool, any) {
		before, in, out := state.(string), input.(asked), output.(answered)
		reply, after := "+OK\r\n", before
		switch in.command {
		case "GET":
			reply = before
		case "SET":
			after = bulk(in.value)
		case "SETNX":
			if reply = ":0\r\n"; before == nothing {
				reply, after = ":1\r\n", bulk(in.value)
			}
		case "GETSET":
			reply, after = before, bulk(in.value)
		case "DEL":
			if reply = ":1\r\n"; before == nothing {
				reply = ":0\r\n"
			}
			after = nothing
		}
		return out.lost || out.reply == reply, after
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v = %v", input, output) },
}

const nothing = "$-1\r\n" // what GET replies for a key that is not there

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// history is what clients did between two starts of a server.
type history struct {
	begun time.Time
	acks  atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.begun)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Sizes of a history: few keys, so that clients meet.
const (
	historyKeys = 16
	historyAcks = 1500 // the server is killed then
)

// ask sends commands until the server dies, one at a time.
func (h *history) ask(address string, client int, random *rand.Rand, enough func()) {
	p, err := dial(address)
	if err != nil {
		return
	}
	defer p.Close()
	for n := 0; ; n++ {
		in := asked{[]string{"GET", "GET", "SET", "SETNX", "GETSET", "DEL"}[random.IntN(6)], fmt.Sprint("k", random.IntN(historyKeys)), ""}
		words := []string{in.command, in.key}
		if strings.HasSuffix(in.command, "NX") || strings.HasSuffix(in.command, "SET") {
			in.value = fmt.Sprint(client, ".", n, ".", random.Uint64())
			words = append(words, in.value)
		}
		call := h.now()
		reply, err := p.do(words...)
		if err != nil || strings.HasPrefix(reply, "-") { // it may still have happened, and if not, then after all that is known
			h.add(porcupine.Operation{ClientId: client, Input: in, Call: call, Output: answered{lost: true}, Return: math.MaxInt64})
			return
		}
		h.add(porcupine.Operation{ClientId: client, Input: in, Call: call, Output: answered{reply: reply}, Return: h.now()})
		if h.acks.Add(1) == historyAcks {
			enough()
		}
	}
}

// readAll asks for each key as a client that is alone.
func (h *history) readAll(address string, client int) error {
	p, err := dial(address)
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range historyKeys {
		in := asked{"GET", fmt.Sprint("k", i), ""}
		call := h.now()
		reply, err := p.do("GET", in.key)
		if err != nil {
			return err
		}
		h.add(porcupine.Operation{ClientId: client, Input: in, Call: call, Output: answered{reply: reply}, Return: h.now()})
	}
	return nil
}

// begin is a history that starts with what the last one's reads found.
func (h *history) begin() *history {
	next := &history{begun: time.Now()}
	for _, op := range h.ops[max(0, len(h.ops)-historyKeys):] {
		in, out := op.Input.(asked), op.Output.(answered)
		if out.reply == nothing {
			continue
		}
		_, value, _ := strings.Cut(strings.TrimSuffix(out.reply, "\r\n"), "\r\n")
		next.add(porcupine.Operation{ClientId: writers, Input: asked{"SET", in.key, value}, Call: -2, Output: answered{reply: "+OK\r\n"}, Return: -1})
	}
	return next
}

// killAndJudge kills a server again and again under clients that share keys. It returns an error for the first history, with what a restarted
// server has behind it, that no order of commands explains.
func killAndJudge(t *testing.T, kind string, cycles int) error {
	folder, last := t.TempDir(), &history{}
	for cycle := range cycles + 1 {
		v, err := startVictim(t, folder, kind)
		if err != nil {
			return fmt.Errorf("cycle %d: %w", cycle, err)
		}
		if cycle > 0 {
			err = last.readAll(v.address, writers)
			if err == nil && !porcupine.CheckOperations(register, last.ops) {
				err = fmt.Errorf("cycle %d: no order explains the %d commands of the %d clients", cycle, len(last.ops), writers)
			}
		}
		if err != nil || cycle == cycles {
			v.Process.Kill()
			return errors.Join(err, killed(v))
		}
		h := last.begin()
		var running sync.WaitGroup
		for i := range writers {
			random := rand.New(rand.NewPCG(uint64(cycle), uint64(i)))
			running.Go(func() { h.ask(v.address, i, random, func() { v.Process.Kill() }) })
		}
		running.Wait()
		if err := killed(v); err != nil {
			return fmt.Errorf("cycle %d: %w", cycle, err)
		}
		last = h
	}
	return nil
}

func TestHistoriesAcrossKillsAreLinearizable(t *testing.T) {
	for _, kind := range []string{plain, holding} {
		if err := killAndJudge(t, kind, cycles/3); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestTheJudgeNoticesAMissingSync takes the sync of batches out.
func TestTheJudgeNoticesAMissingSync(t *testing.T) {
	if err := killAndJudge(t, lying, 5); err == nil {
		t.Error("without syncs 5 kills left linearizable histories: this test cannot fail")
	} else {
		t.Log(err)
	}
}

// TestTheJudgeKnowsTheRules shows it histories.
func TestTheJudgeKnowsTheRules(t *testing.T) {
	set := func(call, end int64, value string) porcupine.Operation {
		return porcupine.Operation{Input: asked{"SET", "k", value}, Call: call, Output: answered{reply: "+OK\r\n"}, Return: end}
	}
	get := func(call, end int64, reply string) porcupine.Operation {
		return porcupine.Operation{Input: asked{"GET", "k", ""}, Call: call, Output: answered{reply: reply}, Return: end}
	}
	lost := porcupine.Operation{Input: asked{"SET", "k", "x"}, Call: 3, Output: answered{lost: true}, Return: math.MaxInt64}
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"written and read", []porcupine.Operation{set(0, 1, "a"), get(2, 3, bulk("a"))}, true},
		{"written and lost", []porcupine.Operation{set(0, 1, "a"), get(2, 3, nothing)}, false},
		{"not answered, not done", []porcupine.Operation{set(0, 1, "a"), lost, get(5, 6, bulk("a"))}, true},
		{"not answered, done", []porcupine.Operation{set(0, 1, "a"), lost, get(5, 6, bulk("x"))}, true},
		{"done and undone", []porcupine.Operation{set(0, 1, "a"), lost, get(5, 6, bulk("x")), get(7, 8, bulk("a"))}, false},
		{"at the same time", []porcupine.Operation{set(0, 9, "a"), set(1, 8, "b"), get(10, 11, bulk("b"))}, true},
		{"read before it was asked for", []porcupine.Operation{get(0, 1, bulk("a")), set(2, 3, "a")}, false},
	} {
		if got := porcupine.CheckOperations(register, tt.ops); got != tt.want {
			t.Errorf("%s: linearizable %t, want %t", tt.name, got, tt.want)
		}
	}
}
