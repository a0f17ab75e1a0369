package blind

import (
	"encoding/json"
	"fmt"
	"io"
)

// Report is what [Rewrite] did, and what is left in machine code. It holds no key and no constant.
type Report struct {
	Policy Policy `json:"policy"`
	Arch   string `json:"arch"`
	Before int    `json:"before"` // bytes of the module
	After  int    `json:"after"`
	Stats

	// Scanned says that the module was compiled and its code scanned; only then does the rest count anything.
	Scanned   bool     `json:"scanned"`
	Code      int      `json:"code"`      // bytes of machine code
	Rounds    int      `json:"rounds"`    // compilations of the whole module
	Partial   int      `json:"partial"`   // compilations of some functions
	Offenders int      `json:"offenders"` // functions in which a scan found what the first look did not
	Residual  Residual `json:"residual"`
}

// Class is a source of bytes in machine code.
type Class uint8

// The classes of what is left, by who chooses the bytes.
const (
	Constant Class = iota // R1: constants, and counts of shifts
	Offset                // R2: static offsets of memory accesses and their ends, indices as displacements
	Vector                // R3: vectors and tables of shuffles
	Frame                 // R4: offsets in a stack frame
	Target                // R6: relative targets of branches and calls, and tables of them
	Encoding              // R7: opcodes, ModRM and SIB bytes and prefixes: the engine's choice
	Engine                // immediates that the engine has on its own account
	numClasses
)

var classes = [numClasses]struct{ key, text string }{
	{"r1", "R1 constants"},
	{"r2", "R2 memory offsets"},
	{"r3", "R3 vectors"},
	{"r4", "R4 stack frames"},
	{"r6", "R6 branch targets"},
	{"r7", "R7 registers and opcodes"},
	{"engine", "the engine's own numbers"},
}

// String returns the class's number in the documentation and what it is.
func (c Class) String() string { return classes[c].text }

// Residual counts the terminators that are left in code and are not meant as such, by class.
type Residual [numClasses]int

// Chosen is how many of them a program's author may have chosen. R5, numbers of labels and indices, is never left: it is padded or refused.
func (r Residual) Chosen() int { return r[Constant] + r[Offset] + r[Vector] }

// MarshalJSON implements [json.Marshaler].
func (r Residual) MarshalJSON() ([]byte, error) {
	m := map[string]int{}
	for c, n := range r {
		m[classes[c].key] = n
	}
	return json.Marshal(m)
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	share := func(n, of int) string {
		if of == 0 {
			return ""
		}
		return fmt.Sprintf(" (%.2f %%)", 100*float64(n)/float64(of))
	}
	rows := []struct {
		name string
		text string
	}{
		{"policy", fmt.Sprintf("%v for %s", r.Policy, r.Arch)},
		{"module", fmt.Sprintf("%d bytes, was %d", r.After, r.Before)},
		{"functions", fmt.Sprintf("%d of %d changed", r.Rewritten, r.Functions)},
		{"constants", fmt.Sprintf("%d of %d blinded%s, %d of them by loops in a local", r.Blinded, r.Constants, share(r.Blinded, r.Constants), r.Hoisted)},
		{"memory offsets", fmt.Sprintf("%d of %d split%s", r.Split, r.Offsets, share(r.Split, r.Offsets))},
		{"others", fmt.Sprintf("%d shift counts masked, %d shuffles looked up, %d br_tables padded, %d try_tables added", r.Masked, r.Shuffles, r.Padded, r.Tries)},
		{"keys", fmt.Sprint(r.Keys)},
	}
	if r.Scanned {
		rows = append(rows, struct{ name, text string }{"machine code", fmt.Sprintf("%d bytes, compiled %d times whole and %d times in part", r.Code, r.Rounds, r.Partial)})
	}
	for _, row := range rows {
		if _, err := fmt.Fprintf(w, "%-15s %s\n", row.name, row.text); err != nil {
			return err
		}
	}
	return r.printResidual(w)
}

func (r Report) printResidual(w io.Writer) error {
	if !r.Scanned {
		_, err := fmt.Fprintln(w, "left in code    not looked at: for another machine, or for a policy that does not look at bytes")
		return err
	}
	name := "left in code"
	for c, n := range r.Residual {
		if _, err := fmt.Fprintf(w, "%-15s %-26s %d\n", name, Class(c), n); err != nil {
			return err
		}
		name = ""
	}
	return nil
}
