package report

import "io"

// Print writes the environment and a table with a row a case into width columns.
func (r Report) Print(w io.Writer, width int) error { return nil }
