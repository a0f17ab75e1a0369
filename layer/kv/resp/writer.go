package resp

import (
	"math"
	"strconv"
)

// Writer appends replies to Out. V3 chooses version 3 of the protocol.
type Writer struct {
	Out  []byte
	V3   bool
	Max  int  // bytes that Out may have, 0 for any; a bulk that would exceed that is left out
	Over bool // one was: what is in Out is of no use
}

func (w *Writer) line(kind byte, n int64) {
	w.Out = append(w.Out, kind)
	w.Out = strconv.AppendInt(w.Out, n, 10)
	w.Out = append(w.Out, '\r', '\n')
}

// Status is a short text such as OK; it holds no line ends.
func (w *Writer) Status(text string) {
	w.Out = append(append(append(w.Out, '+'), text...), '\r', '\n')
}

// Error is a text that begins with a word in capitals. Line ends in it become spaces.
func (w *Writer) Error(text string) {
	w.Out = append(w.Out, '-')
	for i := range len(text) {
		c := text[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		w.Out = append(w.Out, c)
	}
	w.Out = append(w.Out, '\r', '\n')
}

// Int is a whole number.
func (w *Writer) Int(n int64) { w.line(':', n) }

// Bulk is any bytes.
func (w *Writer) Bulk(p []byte) {
	if w.Max > 0 && len(w.Out)+len(p) > w.Max {
		w.Over = true
		return
	}
	w.line('$', int64(len(p)))
	w.Out = append(append(w.Out, p...), '\r', '\n')
}

// Text is a bulk string.
func (w *Writer) Text(s string) {
	if w.Max > 0 && len(w.Out)+len(s) > w.Max {
		w.Over = true
		return
	}
	w.line('$', int64(len(s)))
	w.Out = append(append(w.Out, s...), '\r', '\n')
}

// Verbatim is a text for people; version 3 says so.
func (w *Writer) Verbatim(s string) {
	if !w.V3 {
		w.Text(s)
		return
	}
	w.line('=', int64(len(s)+4))
	w.Out = append(append(append(w.Out, "txt:"...), s...), '\r', '\n')
}

// Null is the absence of a value.
func (w *Writer) Null() {
	if w.V3 {
		w.Out = append(w.Out, "_\r\n"...)
		return
	}
	w.Out = append(w.Out, "$-1\r\n"...)
}

// NullArray is the absence of an array.
func (w *Writer) NullArray() {
	if w.V3 {
		w.Null()
		return
	}
	w.Out = append(w.Out, "*-1\r\n"...)
}

// Push begins n replies that no command asked for.
func (w *Writer) Push(n int) {
	if w.V3 {
		w.line('>', int64(n))
		return
	}
	w.Array(n)
}

// Double is a number that is not whole.
func (w *Writer) Double(f float64) {
	var text [32]byte
	p := strconv.AppendFloat(text[:0], f, 'g', 17, 64)
	if math.IsInf(f, 0) {
		p = append(text[:0], "inf"...)
		if f < 0 {
			p = append(text[:0], "-inf"...)
		}
	}
	if !w.V3 {
		w.Bulk(p)
		return
	}
	w.Out = append(append(append(w.Out, ','), p...), '\r', '\n')
}

// Array begins n replies.
func (w *Writer) Array(n int) { w.line('*', int64(n)) }

// Set begins n replies without an order.
func (w *Writer) Set(n int) {
	if w.V3 {
		w.line('~', int64(n))
		return
	}
	w.Array(n)
}

// Map begins n pairs of replies.
func (w *Writer) Map(n int) {
	if w.V3 {
		w.line('%', int64(n))
		return
	}
	w.Array(2 * n)
}
