package control

import (
	"fmt"
	"strings"
	"time"
)

// progress is how far a move is, in a line.
func progress(s Status, p Progress) string {
	words := []string{s.Phase}
	if s.Paused {
		words = append(words, "paused")
	}
	if s.SourceAway != nil {
		words = append(words, "the source does not answer since "+s.SourceAway.Format(time.DateTime))
	}
	if s.Full {
		words = append(words, "the destination is full")
	}
	if s.Phase == Moving {
		words = append(words, fmt.Sprintf("%d folders and %d files (%s) wait", s.FoldersWaiting, s.FilesWaiting, size(s.BytesWaiting)))
		if p.BytesPerSecond+p.FilesPerSecond > 0 {
			words = append(words, fmt.Sprintf("%s/s, %.0f files/s", size(uint64(p.BytesPerSecond)), p.FilesPerSecond))
		}
		if p.Left != nil {
			words = append(words, fmt.Sprintf("%v left", p.Left.Round(time.Second)))
		}
	}
	if s.Phase == Verifying && s.Note != "" {
		words = append(words, s.Note)
	}
	if n := len(s.Failures) + s.MoreFailed; n > 0 {
		words = append(words, fmt.Sprintf("%d could not be had", n))
	}
	if n := len(s.Skipped) + s.MoreSkip; n > 0 {
		words = append(words, fmt.Sprintf("%d skipped", n))
	}
	return strings.Join(words, ", ")
}

// report is all that is known of a move.
func report(s Status) string {
	var b strings.Builder
	line := func(what, format string, a ...any) { fmt.Fprintf(&b, "  %-12s %s\n", what, fmt.Sprintf(format, a...)) }
	fmt.Fprintf(&b, "%s\n", s.MountPoint)
	line("from", "%s", s.Source)
	line("to", "%s", s.Destination)
	line("now", "%s", progress(s, Progress{}))
	line("arrived", "%d folders listed, %d entries, %d files, %s, since %s", s.FoldersListed, s.EntriesMade, s.FilesFetched, size(s.BytesFetched), s.Started.Format(time.DateTime))
	line("clients", "%d files open; %d opens by the kernel alone, %d reads and writes carried", s.OpenFiles, s.Passed, s.Carried)
	if s.Changed {
		line("changed", "clients have changed something: to give the move up would lose that")
	} else {
		line("changed", "nothing: usui fsmove abort %s gives the move up", s.MountPoint)
	}
	if s.Restarts > 0 {
		line("restarts", "%d processes were killed before this one", s.Restarts)
	}
	for _, h := range s.Hot {
		line("hot", "%q", h)
	}
	for _, f := range s.Failures {
		line("failed", "%q: %s (%d tries since %s)", f.Path, f.Reason, f.Tries, f.Since.Format(time.DateTime))
	}
	if s.MoreFailed > 0 {
		line("failed", "and %d more", s.MoreFailed)
	}
	for _, f := range s.Skipped {
		line("skipped", "%q: %s", f.Path, f.Reason)
	}
	if s.MoreSkip > 0 {
		line("skipped", "and %d more", s.MoreSkip)
	}
	if s.Note != "" {
		line("note", "%s", s.Note)
	}
	return b.String()
}

// size is a number of bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %s", v, []string{"KiB", "MiB", "GiB", "TiB", "PiB"}[i])
}

// Line is how far a move is, in a line.
func Line(s Status) string { return progress(s, Progress{}) }
