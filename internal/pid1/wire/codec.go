package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Longest line of each direction, in bytes with its newline: base64 adds a third to argv and env, and steps need room too.
const (
	MaxRequest = 4 << 20
	MaxReport  = 64 << 10
)

// RequestReader decodes what a host says. It is not safe for concurrent use.
type RequestReader struct{ lines }

// NewRequestReader returns a reader of the requests in r.
func NewRequestReader(r io.Reader) *RequestReader {
	return &RequestReader{lines{from: bufio.NewReader(r), limit: MaxRequest}}
}

// Next returns the next request. It returns [io.EOF] at the end of the stream, also in the middle of a line, for a
// message that was cut is none.
func (r *RequestReader) Next() (Request, error) {
	var m Request
	err := r.decode(&m)
	if err == nil {
		err = m.check()
	}
	return m, err
}

// ReportReader decodes what a guest says. It is not safe for concurrent use.
type ReportReader struct{ lines }

// NewReportReader returns a reader of the reports in r.
func NewReportReader(r io.Reader) *ReportReader {
	return &ReportReader{lines{from: bufio.NewReader(r), limit: MaxReport}}
}

// Next returns the next report; [io.EOF] is as in [RequestReader.Next].
func (r *ReportReader) Next() (Report, error) {
	var m Report
	err := r.decode(&m)
	if err == nil {
		err = m.check()
	}
	return m, err
}

// lines is a stream of messages.
type lines struct {
	from  *bufio.Reader
	limit int // bytes of a line
	line  []byte
}

// decode reads one line into m.
func (l *lines) decode(m any) error {
	if err := l.next(); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(l.line))
	// Both sides come from one build. An unknown field is a mistake that would otherwise pass in silence.
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("decode message %.80q: %v", l.line, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("decode message %.80q: more than one value", l.line)
	}
	return nil
}

// next reads one line. Its buffer grows with what comes and not beyond the limit.
func (l *lines) next() error {
	l.line = l.line[:0]
	for {
		part, err := l.from.ReadSlice('\n')
		l.line = append(l.line, part...)
		if len(l.line) > l.limit {
			return fmt.Errorf("message longer than %d bytes", l.limit)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// WriteRequest checks m and writes it to w in one call of Write.
func WriteRequest(w io.Writer, m Request) error {
	if err := m.check(); err != nil {
		return err
	}
	return write(w, m, MaxRequest)
}

// WriteReport checks m and writes it to w in one call of Write.
func WriteReport(w io.Writer, m Report) error {
	if err := m.check(); err != nil {
		return err
	}
	return write(w, m, MaxReport)
}

func write(w io.Writer, m any, limit int) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if len(line) > limit {
		return fmt.Errorf("message of %d bytes, limit %d", len(line), limit)
	}
	_, err = w.Write(line)
	return err
}
