package scan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"usui/layer/blind/terminator"
)

// meanings says what a terminator in a field means to whoever reads the report.
var meanings = [numFields]string{
	Imm:       "constants of the program, and of bounds checks",
	Disp:      "static offsets of loads and stores, and the engine's structures",
	Data:      "vector constants, shuffle masks",
	Unknown:   "bytes that could not be decoded",
	Relative:  "targets of branches, addresses of data, jump tables",
	Frame:     "places in the stack frame",
	Operation: "operations and registers",
}

// WriteText writes the report as a table. At most so many offenders are listed below it; a negative number lists all.
func (r *Report) WriteText(w io.Writer, offenders int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s, %s: %d bytes of code in %d functions, %d instructions, %d bytes of data, %d bytes not decoded\n\n",
		prefixed(r.File), r.Format, r.Arch, r.Size.Code, r.Size.Functions, r.Size.Instructions, r.Size.Data, r.Size.Unknown)
	r.table(&b)
	r.list(&b, offenders)
	_, err := io.WriteString(w, b.String())
	return err
}

func prefixed(file string) string {
	if file == "" {
		return ""
	}
	return fmt.Sprintf("%q: ", file)
}

// table writes one row for each place, those that blinding is for above the others.
func (r *Report) table(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	shown, err := terminator.ParseSet(r.Classes)
	if err != nil {
		shown = terminator.All // a report that someone else made up
	}
	row := func(name string, n Tally, meaning string) {
		fmt.Fprint(t, name)
		for c := range shown.Classes() {
			fmt.Fprintf(t, "\t%d", n.Of(c))
		}
		fmt.Fprintf(t, "\t%s\n", meaning)
	}
	fmt.Fprintf(t, "terminators\t%s\t\n", strings.ReplaceAll(r.Classes, ",", "\t"))
	row("intended", r.Intended, "the program's own returns, calls and system calls")
	for _, chosen := range []bool{true, false} {
		which, holds := "left", "not chosen as constants, and not changed by blinding"
		if chosen {
			which, holds = "chosen", "in bytes that the program's author may have chosen: blinding should leave none"
		}
		row(which, r.sum(func(w Where) bool { return w.Chosen() == chosen }), holds)
		for _, h := range r.rows(chosen) {
			row("  "+h.Where.String(), h.Count, h.Where.meaning())
		}
	}
	t.Flush() // a strings.Builder returns no errors
}

// rows gives a row for each field, be it of zeros, and one for each pair of them that something crosses.
func (r *Report) rows(chosen bool) (rows []Hits) {
	for f := range numFields {
		if f.Chosen() == chosen {
			rows = append(rows, Hits{Where: Where{f, f}, Count: r.unintended[f][f]})
		}
	}
	for _, h := range r.Unintended {
		if h.Where.Crossing() && h.Chosen == chosen {
			rows = append(rows, h)
		}
	}
	return rows
}

// meaning explains a row.
func (w Where) meaning() string {
	if w.Crossing() {
		return "one byte in each"
	}
	return meanings[w.First]
}

// list writes the first offenders.
func (r *Report) list(b *strings.Builder, most int) {
	n := len(r.Offenders)
	if most >= 0 {
		n = min(n, most)
	}
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d of %d unintended terminators, with the bytes of the field that they are in:\n", n, len(r.Offenders)+r.Unlisted)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, o := range r.Offenders[:n] {
		var values []string
		for _, p := range o.Parts {
			values = append(values, fmt.Sprintf("%v % x", p.Field, []byte(p.Value)))
		}
		fmt.Fprintf(t, "%#x\t%v\t%s\t%s\n", o.Address, o.Class, function(&o), strings.Join(values, ", "))
	}
	t.Flush()
}

// function says where an offender is.
func function(o *Offender) string {
	if o.Function < 0 {
		return "in no function"
	}
	if o.Name == "" {
		return fmt.Sprintf("function %d", o.Function)
	}
	return fmt.Sprintf("function %d, %.60q", o.Function, o.Name)
}
