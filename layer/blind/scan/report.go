package scan

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"usui/layer/blind/terminator"
)

// reportVersion changes when a reader of the JSON form must.
const reportVersion = 1

// maxOffenders bounds the memory of a report on code that somebody wrote to fill it.
const maxOffenders = 1 << 20

// Report is what a scan found.
type Report struct {
	Version     int    `json:"version"`
	File        string `json:"file,omitempty"`
	Format      Format `json:"format"`
	Arch        string `json:"arch"`
	Definitions string `json:"definitions"`
	Classes     string `json:"classes"`

	Size       Size       `json:"size"`
	Intended   Tally      `json:"intended"`   // terminators that are instructions of the program
	Unintended []Hits     `json:"unintended"` // the others, by where they are, without what has none
	Offenders  []Offender `json:"offenders"`  // those of them in bytes that the author may have chosen, by rising offset
	Unlisted   int        `json:"unlisted"`   // how many offenders more there are than a report lists
	Own        int        `json:"-"`          // how many are the engine's own

	unintended [numFields][numFields]Tally
}

// Size is how much was scanned.
type Size struct {
	Code         int `json:"code"` // bytes
	Functions    int `json:"functions"`
	Instructions int `json:"instructions"`
	Data         int `json:"data"`    // bytes between instructions that are data
	Unknown      int `json:"unknown"` // bytes that could not be decoded
}

// Hits is how many unintended terminators there are in one place of instructions.
type Hits struct {
	Where  Where `json:"where"`
	Chosen bool  `json:"chosen"` // the program's author may have chosen one of the bytes
	Count  Tally `json:"count"`
}

// Tally counts terminators by class, in the order of the bits of terminator.Set.
type Tally [4]int

// Of is how many there are of the classes of a set.
func (t Tally) Of(s terminator.Set) (n int) {
	for i := range t {
		if s>>i&1 != 0 {
			n += t[i]
		}
	}
	return n
}

// plus adds another tally.
func (t Tally) plus(other Tally) Tally {
	for i := range t {
		t[i] += other[i]
	}
	return t
}

// MarshalJSON implements [json.Marshaler].
func (t Tally) MarshalJSON() ([]byte, error) {
	names := map[string]int{}
	for i, n := range t {
		names[terminator.Set(1<<i).String()] = n
	}
	return json.Marshal(names)
}

// Offender is one unintended terminator.
type Offender struct {
	Function int            `json:"function"`       // index; -1: it is in none
	Name     string         `json:"name,omitempty"` // of the function
	Off      int            `json:"off"`            // in the code, or the file's section of it
	Address  uint64         `json:"address"`        // where the file says that this is; else it is Off
	Class    terminator.Set `json:"class"`
	Where    Where          `json:"where"`
	Parts    []Part         `json:"parts"` // the field of the first byte and, if it is another one, of the last
}

// Part is a field of which a byte belongs to a terminator.
type Part struct {
	Field       Field `json:"field"`
	Instruction int   `json:"instruction"` // where the instruction, or the data, begins
	Off         int   `json:"off"`         // where the field begins
	Value       Value `json:"value"`
}

// Value is the bytes of a field, the least significant one first. They are part of the code that was scanned.
type Value []byte

// MarshalText implements [encoding.TextMarshaler].
func (v Value) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, v), nil }

// newReport is a report of nothing.
func newReport(arch terminator.Arch, o Options) (Report, error) {
	if o.Definitions == ROPgadget && arch != terminator.AMD64 {
		return Report{}, fmt.Errorf("ROPgadget's definitions are for amd64, not %v", arch)
	}
	return Report{
		Version: reportVersion, Format: Raw, Arch: arch.String(), Definitions: o.Definitions.String(), Classes: o.classes().String(),
		Unintended: []Hits{}, Offenders: []Offender{},
	}, nil
}

// finish lists what was counted.
func (r *Report) finish() {
	for first := range numFields {
		for last := range numFields {
			if w := (Where{first, last}); r.unintended[first][last] != (Tally{}) {
				r.Unintended = append(r.Unintended, Hits{w, w.Chosen(), r.unintended[first][last]})
			}
		}
	}
}

// Chosen counts the unintended terminators in bytes that the program's author may have chosen. Blinding should leave none.
func (r *Report) Chosen() (t Tally) { return r.sum(Where.Chosen) }

// In counts the unintended terminators that lie in one field alone.
func (r *Report) In(f Field) Tally { return r.unintended[f][f] }

// Crossing counts those that lie in two.
func (r *Report) Crossing() Tally { return r.sum(Where.Crossing) }

// sum adds up the unintended terminators in some places.
func (r *Report) sum(of func(Where) bool) (t Tally) {
	for _, h := range r.Unintended {
		if of(h.Where) {
			t = t.plus(h.Count)
		}
	}
	return t
}

// WriteJSON writes the report in a form that is kept: readers look at its version.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
