//go:build long

package engine

import "testing"

func TestLongPowerCutsLoseNothingDurable(t *testing.T) { cutPower(t, 100_000) }
