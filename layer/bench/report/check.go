package report

import (
	"fmt"

	"usui/layer/bench/where"
)

// check says what no report can hold.
func (r *Report) check() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("version %d, only %d is known", r.Version, Version)
	case r.Duration < 0 || r.Launches < 0:
		return fmt.Errorf("%d launches of %v", r.Launches, r.Duration)
	case len(r.Rows) > maxRows:
		return fmt.Errorf("%d rows, at most %d are read", len(r.Rows), maxRows)
	}
	if err := r.Where.Check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range r.Rows {
		row := &r.Rows[i]
		if err := row.check(); err != nil {
			return fmt.Errorf("row %d %.40q: %v", i, row.Name, err)
		}
		if seen[row.Name] {
			return fmt.Errorf("row %d %.40q: a second one of the name", i, row.Name)
		}
		seen[row.Name] = true
	}
	return nil
}

func (r *Row) check() error {
	for _, text := range r.texts() {
		if where.Plain(*text) != *text {
			return fmt.Errorf("%.40q is no short printable text", *text)
		}
	}
	switch {
	case r.Name == "":
		return fmt.Errorf("no name")
	case r.Samples < 0 || r.Samples == 0 && r.NA == "":
		return fmt.Errorf("%d samples and no reason", r.Samples)
	case !within(r.Exits) || !within(r.ExitsWant) || !within(r.ExitsLeast):
		return fmt.Errorf("%v exits, wanted %v, at least %v", r.Exits, r.ExitsWant, r.ExitsLeast)
	case r.ExitsMost != nil && !(r.ExitsLeast <= *r.ExitsMost && within(*r.ExitsMost)):
		return fmt.Errorf("at least %v exits, at most %v", r.ExitsLeast, *r.ExitsMost)
	case len(r.Histogram) > MaxBins:
		return fmt.Errorf("%d bins, at most %d are read", len(r.Histogram), MaxBins)
	}
	for _, b := range r.Histogram {
		if !within(b.Low) || !within(b.High) || b.Low > b.High || b.Count < 0 {
			return fmt.Errorf("bin of %d from %v to %v", b.Count, b.Low, b.High)
		}
	}
	for _, s := range []*Summary{&r.Stats, r.ExitHalf, r.EntryHalf} {
		if s == nil {
			continue
		}
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Summary) check() error {
	for _, e := range []Estimate{s.P50, s.P90, s.P99, s.P999, {s.Mean, s.Min, s.Max}} {
		if !within(e.Low) || !within(e.High) || !(e.Low <= e.Value && e.Value <= e.High) {
			return fmt.Errorf("%v ns, between %v and %v", e.Value, e.Low, e.High)
		}
	}
	if !within(s.BetweenLaunches) {
		return fmt.Errorf("spread between launches of %v", s.BetweenLaunches)
	}
	return nil
}

// within says that v is a number that a report can hold; NaN is none.
func within(v float64) bool { return v >= 0 && v <= maxTime }
