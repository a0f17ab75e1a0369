package wire

import "encoding/json"

// Strings is a list of byte strings. It travels as base64, because arguments and environment need not be UTF-8 and
// JSON would change them.
type Strings []string

// MarshalJSON implements [json.Marshaler].
func (s Strings) MarshalJSON() ([]byte, error) {
	raw := make([][]byte, len(s))
	for i := range s {
		raw[i] = []byte(s[i])
	}
	return json.Marshal(raw)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Strings) UnmarshalJSON(b []byte) error {
	var raw [][]byte
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	list := make(Strings, len(raw))
	for i := range raw {
		list[i] = string(raw[i])
	}
	*s = list
	return nil
}
