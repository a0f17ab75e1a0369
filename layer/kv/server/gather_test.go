package server

import (
	"testing"
	"testing/synctest"
	"time"
)

// answerAll has a batch that took 100 µs answer clients.
func (g *gathering) answerAll(clients []client) {
	for i := range clients {
		g.answer(&clients[i], i == 0, 100*time.Microsecond)
	}
}

func TestABatchWaitsForThoseWhoWereAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gathering
		if g.wait(true) {
			t.Error("a batch waits, and nobody was answered")
		}
		clients := make([]client, 4)
		for range 3 {
			g.answerAll(clients)
			if g.wait(false) {
				t.Error("a batch that cannot go is said to wait for clients")
			}
			for i := range clients {
				if !g.wait(true) {
					t.Errorf("a batch does not wait, and %d clients are to come", len(clients)-i)
				}
				g.back(&clients[i])
				g.back(&clients[i]) // its next command
			}
			if g.wait(true) {
				t.Error("a batch waits, and all clients have come")
			}
		}
	})
}

func TestABatchDoesNotWaitForLongNorAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gathering
		clients := make([]client, 4)
		g.answerAll(clients)
		for start := time.Now(); g.wait(true); time.Sleep(10 * time.Microsecond) {
			if time.Since(start) > gatherMost {
				t.Fatal("a batch waits for more than gatherMost")
			}
		}
		for i := range gatherSkip {
			g.answerAll(clients)
			if g.wait(true) {
				t.Errorf("batch %d after one for which nobody came waits again", i)
			}
		}
		g.answerAll(clients)
		if !g.wait(true) {
			t.Error("no batch waits any more")
		}
	})
}
