package survey

import (
	"fmt"
	"io"
	"time"
)

// WriteText tells a person, with the first paths of each finding.
func (r *Report) WriteText(w io.Writer, paths int) error {
	p := &printer{w: w}
	s, d := &r.Source, &r.Destination
	p.line("%s: %d files, %d folders, %d symbolic links, %d devices, fifos and sockets", s.Path, s.Files, s.Folders, s.Links, s.Specials)
	p.line("  %s of content in %s, %d sparse files", size(s.Bytes), size(s.Allocated), s.Sparse)
	p.line("  %d inodes with several names, %d names of them", s.Linked, s.LinkedNames)
	p.line("  the largest folder has %d entries: %q; the deepest path has %d names: %q", s.Largest.Count, s.Largest.Path, s.Deepest.Count, s.Deepest.Path)
	p.line("%s: %s and %s are free, %s and %d inodes are needed", d.Path, size(d.Room.Bytes), inodes(d.Room.Inodes), size(r.Needed.Bytes), r.Needed.Inodes)
	if !d.Tried {
		p.line("  what it holds was not tried: %s", d.WhyNot)
	}
	p.line("about %v: %s", time.Duration(r.Estimate.Seconds*float64(time.Second)).Round(time.Second), r.Estimate.How)
	last := ""
	for _, f := range r.Findings {
		if f.Class != last {
			last = f.Class
			p.line("\n%s:", f.Class)
		}
		p.finding(&f, paths)
	}
	if r.Movable() {
		p.line("\nnothing was found that cannot be moved")
	}
	return p.err
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", a...)
	}
}

func (p *printer) finding(f *Finding, paths int) {
	if f.Count == 0 {
		p.line("  %s", f.What)
		return
	}
	p.line("  %s: %d", f.What, f.Count)
	for i, path := range f.Paths {
		if i == paths {
			p.line("      ... (--json lists more)")
			return
		}
		p.line("      %q", path)
	}
}

func inodes(n uint64) string {
	if n == 0 {
		return "inodes without a bound"
	}
	return fmt.Sprintf("%d inodes", n)
}

// size is a number of bytes for a person.
func size(n uint64) string {
	units, v, i := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, float64(n), 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
