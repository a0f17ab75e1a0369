package tcp

import "encoding/binary"

// Kinds of options (RFC 9293 section 3.2, RFC 7323, RFC 2018).
const (
	optionEnd           = 0
	optionNothing       = 1
	optionMSS           = 2
	optionScale         = 3
	optionSACKPermitted = 4
	optionSACK          = 5
)

// offer is what a SYN says about its sender.
type offer struct {
	mss      int
	scale    byte
	scaling  bool
	sackable bool
}

// Bounds of a peer's segments: what counts if it says nothing (RFC 9293 section 3.7.1), and the least that is believed, as Linux has it.
const (
	defaultMSS = 536
	leastMSS   = 48
	maxScale   = 14
)

// option returns the first option and what follows it. ok is false at the end and where the rest makes no sense.
func option(p []byte) (kind byte, value, rest []byte, ok bool) {
	for len(p) > 0 && p[0] == optionNothing {
		p = p[1:]
	}
	if len(p) < 2 || p[0] == optionEnd || p[1] < 2 || int(p[1]) > len(p) {
		return 0, nil, nil, false
	}
	return p[0], p[2:p[1]], p[p[1]:], true
}

// parseOffer reads the options of a SYN.
func parseOffer(p []byte) offer {
	o := offer{mss: defaultMSS}
	for {
		kind, value, rest, ok := option(p)
		if !ok {
			return o
		}
		switch {
		case kind == optionMSS && len(value) == 2:
			o.mss = max(leastMSS, int(binary.BigEndian.Uint16(value)))
		case kind == optionScale && len(value) == 1:
			o.scale, o.scaling = min(value[0], maxScale), true
		case kind == optionSACKPermitted && len(value) == 0:
			o.sackable = true
		}
		p = rest
	}
}

// appendOffer makes the options of a SYN.
func appendOffer(p []byte, o offer) []byte {
	p = append(p, optionMSS, 4, byte(o.mss>>8), byte(o.mss))
	if o.scaling {
		p = append(p, optionNothing, optionScale, 3, o.scale)
	}
	if o.sackable {
		p = append(p, optionNothing, optionNothing, optionSACKPermitted, 2)
	}
	return p
}

// span is a piece of the space of sequence numbers.
type span struct{ start, end sequence }

// maxSpans is how many fit into the options.
const maxSpans = 4

// sacked calls f with the pieces that a segment says have arrived.
func sacked(options []byte, f func(span)) {
	for {
		kind, value, rest, ok := option(options)
		if !ok {
			return
		}
		if kind == optionSACK {
			for ; len(value) >= 8; value = value[8:] {
				f(span{sequence(binary.BigEndian.Uint32(value)), sequence(binary.BigEndian.Uint32(value[4:]))})
			}
		}
		options = rest
	}
}

// appendSACK makes the option that says what has arrived early.
func appendSACK(p []byte, spans []span) []byte {
	if len(spans) == 0 {
		return p
	}
	p = append(p, optionNothing, optionNothing, optionSACK, byte(2+8*len(spans)))
	for _, s := range spans {
		p = binary.BigEndian.AppendUint32(p, uint32(s.start))
		p = binary.BigEndian.AppendUint32(p, uint32(s.end))
	}
	return p
}
