//go:build long

package kv

import "testing"

// longCycles is how often each kind of disk dies in each of the long tests: 1,000 kills a test.
const longCycles = 500

func TestLongKillingLosesNothingAcknowledged(t *testing.T) {
	for _, kind := range []string{plain, holding} {
		if err := crash(t, kind, longCycles); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestLongHistoriesAcrossKillsAreLinearizable(t *testing.T) {
	for _, kind := range []string{plain, holding} {
		if err := killAndJudge(t, kind, longCycles); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
