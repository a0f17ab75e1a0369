package report

import (
	"bytes"
	_ "embed" // for the template
	"html/template"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"

	"usui/layer/bench/where"
)

//go:embed page.html
var pageSource string

// pages is parsed when a page is wanted, not when the program starts.
var pages = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"time":     duration,
		"times":    times,
		"quantile": quantile,
		"interval": func(e Estimate) string { return duration(e.Low) + " to " + duration(e.High) },
		"between":  func(e Estimate) string { return times(e.Low) + " to " + times(e.High) },
		"draw":     draw,
	}).Parse(pageSource))
})

// page is what page.html shows. Its texts may hold anything, which the template escapes.
type page struct {
	Title string
	Facts []fact
	Where where.Environment
	Ran   []fact // what Where says in short
	Plot  *plot
	Rows  any // entries
	Count counted

	Launches int
	Terms    []string // why exits have no halves
}

// entry is a row of a page's table.
type entry[T any] struct {
	Heading bool // a group begins
	Index   int
	Row     T
}

func entries[T any](rows []T, group func(T) string) []entry[T] {
	var list []entry[T]
	for i, r := range rows {
		list = append(list, entry[T]{Heading: i == 0 || group(r) != group(rows[i-1]), Index: i, Row: r})
	}
	return list
}

// WriteHTML writes the report as one page of HTML, which is well-formed XML, too. It needs no other file, no network
// and no script, and no text of the report can add any.
func (r Report) WriteHTML(w io.Writer) error {
	r = r.plain()
	return write(w, "report", page{
		Title: known(r.Where.CPU), Facts: r.facts(), Where: r.Where, Plot: medians(r.Rows),
		Rows: entries(r.Rows, func(r Row) string { return r.Group }), Terms: noHalves(r.Rows), Count: r.counted(), Launches: r.Launches,
	})
}

// noHalves returns each reason why rows have no halves.
func noHalves(rows []Row) []string {
	var found []string
	for _, r := range rows {
		if r.NA == "" && r.Halves != "" && !slices.Contains(found, r.Halves) {
			found = append(found, r.Halves)
		}
	}
	return found
}

// WriteHTML writes the comparison, with all rows, as a page such as that of [Report.WriteHTML].
func (c Comparison) WriteHTML(w io.Writer) error {
	return write(w, "comparison", page{
		Title: known(c.After.Where.CPU), Facts: append(c.facts(), fact{Label: "found", Text: c.count()}),
		Where: c.After.Where, Ran: environment(c.After.Where), Plot: ratios(c.Rows),
		Rows: entries(c.Rows, func(c Change) string { return c.Group }),
	})
}

// write fills in a template. What no page may hold, as characters that turn the direction of text or that XML has no
// place for, becomes a question mark; the template itself has none.
func write(w io.Writer, name string, p page) error {
	var b bytes.Buffer
	if err := pages().ExecuteTemplate(&b, name, p); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, b.String()))
	return err
}
