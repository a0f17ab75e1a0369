package compare

import (
	"fmt"
	"io"
)

// Report is what was found.
type Report struct {
	Entries       uint64 `json:"entries"` // of the source
	Bytes         uint64 `json:"bytes"`   // that were read and compared, holes that both sides have not among them
	Quick         bool   `json:"quick"`   // content was not read
	Same          uint64 `json:"same"`
	Changed       Class  `json:"changed"`  // by clients
	Metadata      Class  `json:"metadata"` // mode, owner, attributes or links only, which clients may have set
	Gone          Class  `json:"gone"`     // removed or renamed by clients
	New           Class  `json:"new"`      // at the destination
	Lost          Class  `json:"lost"`     // known not to have arrived
	Damaged       Class  `json:"damaged"`
	SourceChanged Class  `json:"source_changed"` // while it was compared
	Failed        Class  `json:"failed"`         // could not be read
}

// Class are entries that have something in common: how many, and the first of them.
type Class struct {
	Count uint64    `json:"count"`
	List  []Finding `json:"list,omitempty"`
}

// Finding is one of them.
type Finding struct {
	Path string `json:"path"`
	What string `json:"what,omitempty"`
}

// Good says that nothing is damaged, and that everything could be compared.
func (r *Report) Good() bool {
	return r.Damaged.Count == 0 && r.Failed.Count == 0 && r.SourceChanged.Count == 0
}

// add counts an entry of a class, and lists it if there are not too many.
func (c *Class) add(most int, path, what string) {
	if c.Count++; len(c.List) < most {
		c.List = append(c.List, Finding{path, what})
	}
}

// WriteText tells a person.
func (r *Report) WriteText(w io.Writer, most int) error {
	content := fmt.Sprintf("%d MiB of content read", r.Bytes>>20)
	if r.Quick {
		content = "content not read"
	}
	if _, err := fmt.Fprintf(w, "%d entries compared, %s\n%12d same\n", r.Entries, content, r.Same); err != nil {
		return err
	}
	for _, c := range []struct {
		class *Class
		what  string
	}{
		{&r.Changed, "changed by clients"},
		{&r.Metadata, "with other metadata, which clients may have set"},
		{&r.Gone, "removed or renamed by clients"},
		{&r.New, "new at the destination"},
		{&r.Lost, "known not to have arrived"},
		{&r.SourceChanged, "changed at the source meanwhile"},
		{&r.Failed, "could not be compared"},
		{&r.Damaged, "DAMAGED: they differ, and the time of modification does not say that a client did it"},
	} {
		if err := c.class.writeText(w, c.what, most); err != nil {
			return err
		}
	}
	return nil
}

func (c *Class) writeText(w io.Writer, what string, most int) error {
	if _, err := fmt.Fprintf(w, "%12d %s\n", c.Count, what); err != nil {
		return err
	}
	for i, f := range c.List {
		if i == most {
			_, err := fmt.Fprintf(w, "             ... and %d more (--json lists them)\n", c.Count-uint64(i))
			return err
		}
		if _, err := fmt.Fprintf(w, "             %q: %s\n", f.Path, f.What); err != nil {
			return err
		}
	}
	return nil
}
