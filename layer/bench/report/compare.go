package report

import "io"

// Verdict says what became of a row.
type Verdict string

// A row is faster or slower only if the intervals of the two medians are disjoint.
const (
	Same   Verdict = "same"
	Faster Verdict = "faster"
	Slower Verdict = "slower"
	Gone   Verdict = "gone" // only the first report has it
	New    Verdict = "new"  // only the second report has it
	NA     Verdict = "n/a"  // Change.Why says why
)

// Comparison is what differs between two reports.
type Comparison struct {
	Version int      `json:"version"`
	Rows    []Change `json:"rows"`
}

// Change is one row in both reports.
type Change struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
}

// Refusal is the error of a comparison that would mislead.
type Refusal struct {
	Reasons []string
}

// Error implements error.
func (r *Refusal) Error() string { return "" }

// Compare compares report b with report a that came before it. With a *[Refusal] the comparison is complete
// all the same, for a caller who was told to force it.
func Compare(a, b Report) (Comparison, error) { return Comparison{}, nil }

// Print writes what differs as a table.
func (c Comparison) Print(w io.Writer) error { return nil }
