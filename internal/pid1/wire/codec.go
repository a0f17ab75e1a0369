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
type RequestReader struct{ lines *bufio.Reader }

// NewRequestReader returns a reader of the requests in r.
func NewRequestReader(r io.Reader) *RequestReader {
	return &RequestReader{bufio.NewReaderSize(r, MaxRequest)}
}

// Next returns the next request. It returns [io.EOF] at the end of the stream, also in the middle of a line, for a
// message that was cut is none.
func (r *RequestReader) Next() (Request, error) {
	var m Request
	err := next(r.lines, &m)
	if err == nil {
		err = m.check()
	}
	return m, err
}

// ReportReader decodes what a guest says. It is not safe for concurrent use.
type ReportReader struct{ lines *bufio.Reader }

// NewReportReader returns a reader of the reports in r.
func NewReportReader(r io.Reader) *ReportReader {
	return &ReportReader{bufio.NewReaderSize(r, MaxReport)}
}

// Next returns the next report; [io.EOF] is as in [RequestReader.Next].
func (r *ReportReader) Next() (Report, error) {
	var m Report
	err := next(r.lines, &m)
	if err == nil {
		err = m.check()
	}
	return m, err
}

// next reads one line and decodes it into m.
func next(lines *bufio.Reader, m any) error {
	line, err := lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("message longer than %d bytes", lines.Size())
	}
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(line))
	// Both sides come from one build. An unknown field is a mistake that would otherwise pass in silence.
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("decode message %.80q: %v", line, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("decode message %.80q: more than one value", line)
	}
	return nil
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
