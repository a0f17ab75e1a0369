package bench

import (
	"context"
	"testing"
	"time"

	"usui/host/need"
)

// measureAll measures every case for a moment.
func measureAll(t *testing.T) {
	need.KVM(t)
	r, err := Run(context.Background(), Config{Duration: 20 * time.Millisecond, Launches: 2, Patience: time.Second})
	if err != nil {
		t.Error(err)
	}
	for _, row := range r.Rows {
		m := 0.0
		if len(row.Launches) > 0 {
			m = median(row.Launches[0])
		}
		t.Logf("%-16s %10.1f ns %5d samples, exits %.3f want %v %s", row.Name, m, row.Samples, row.Exits, row.ExitsWant, row.NA)
	}
}

func TestCases(t *testing.T) { measureAll(t) }
