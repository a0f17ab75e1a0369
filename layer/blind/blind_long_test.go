//go:build long

package blind

import (
	"fmt"
	"testing"
)

// TestLongRandomFunctionsDoTheSame compares 100,000 random functions that the short test does not have.
func TestLongRandomFunctionsDoTheSame(t *testing.T) { compareRandom(t, 1_000_000, 100_000) }

// TestLongSpecificationTests runs all scripts under each policy on each engine.
func TestLongSpecificationTests(t *testing.T) {
	for p := range None {
		for _, e := range engines {
			t.Run(fmt.Sprintf("%v/%s", p, e.name), func(t *testing.T) {
				t.Parallel()
				specification(t, e.config, func(int) Policy { return p })
			})
		}
	}
}
