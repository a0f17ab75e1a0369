package cli

import "fmt"

// didYouMean suggests the name nearest to what was typed, as the end of a message, or nothing.
func didYouMean(typed string, names []string) string {
	if near := nearest(typed, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// nearest returns the name with the fewest edits to typed: at most two, and fewer than half of the typed
// letters, so that a suggestion is a likely one. It is "" if there is none.
func nearest(typed string, names []string) string {
	best, fewest := "", 3
	for _, name := range names {
		if n := edits(typed, name); n < fewest && 2*n <= len(typed) {
			best, fewest = name, n
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours that turn a into b
// (optimal string alignment: no letter is edited twice).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
