package blind

import "usui/layer/blind/wasm"

// Stats counts what a rewrite saw and did.
type Stats struct {
	Functions int `json:"functions"`
	Rewritten int `json:"rewritten"` // functions of which a byte changed
	Constants int `json:"constants"` // that are not 0
	Offsets   int `json:"offsets"`   // memory accesses with an offset
	Blinded   int `json:"blinded"`   // constants that are xored now
	Hoisted   int `json:"hoisted"`   // of them, those that a loop finds in a local
	Masked    int `json:"masked"`    // counts of shifts that lost bits without a meaning
	Split     int `json:"split"`     // offsets of which a part is added at run time
	Shuffles  int `json:"shuffles"`  // that became look-ups
	Padded    int `json:"padded"`    // br_tables with more labels
	Tries     int `json:"tries"`     // try_tables in front of others, for their numbers
	Keys      int `json:"keys"`
}

// count counts an instruction that is looked at.
func (s *Stats) count(in *wasm.Instr) {
	if c, ok := constantOf(in); ok {
		if c.bits != [2]uint64{} {
			s.Constants++
		}
	} else if _, ok := in.Op.Access(); ok && in.Mem.Offset > 0 {
		s.Offsets++
	}
}

// add adds what was done to one function.
func (s *Stats) add(other Stats) {
	s.Rewritten++
	s.Blinded += other.Blinded
	s.Hoisted += other.Hoisted
	s.Masked += other.Masked
	s.Split += other.Split
	s.Shuffles += other.Shuffles
	s.Padded += other.Padded
	s.Tries += other.Tries
}
