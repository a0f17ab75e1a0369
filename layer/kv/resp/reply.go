package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ReplyError is a reply that says that a command failed.
type ReplyError string

// Error implements error.
func (e ReplyError) Error() string { return string(e) }

// Errors of replies.
var (
	errReplyLong = errors.New("a reply is longer than what was asked for")
	errReply     = errors.New("a reply of another kind than what was asked for")
)

// ReadStatus reads a reply without content, as OK. The server is not trusted.
func ReadStatus(r *bufio.Reader) error {
	_, err := readHead(r, '+')
	return err
}

// ReadBulk reads a string of at most so many bytes.
func ReadBulk(r *bufio.Reader, most int) ([]byte, error) {
	n, err := readLength(r, '$', most)
	if err != nil {
		return nil, err
	}
	p := make([]byte, n+2)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, err
	}
	if string(p[n:]) != "\r\n" {
		return nil, errReply
	}
	return p[:n], nil
}

// ReadInts reads an array of at most so many numbers.
func ReadInts(r *bufio.Reader, most int) (list []int64, err error) {
	n, err := readLength(r, '*', most)
	if err != nil {
		return nil, err
	}
	for range n { // each is there before there is room for the next
		text, err := readHead(r, ':')
		if err != nil {
			return nil, err
		}
		v, ok := ParseInt(text)
		if !ok {
			return nil, errReply
		}
		list = append(list, v)
	}
	return list, nil
}

// readLength reads what begins a reply of that kind.
func readLength(r *bufio.Reader, kind byte, most int) (int, error) {
	text, err := readHead(r, kind)
	if err != nil {
		return 0, err
	}
	n, ok := ParseInt(text)
	switch {
	case !ok || n < 0:
		return 0, errReply
	case n > int64(most):
		return 0, errReplyLong
	}
	return int(n), nil
}

// readHead reads a line of that kind, or an error, and returns it without its kind and its end, valid until r is read again.
func readHead(r *bufio.Reader, kind byte) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errReplyLong
	}
	if err != nil {
		return nil, err
	}
	n := len(line) - 2
	switch {
	case n < 1 || line[n] != '\r':
		return nil, errReply
	case line[0] == '-':
		return nil, ReplyError(fmt.Sprintf("%.200q", line[1:n]))
	case line[0] != kind:
		return nil, errReply
	}
	return line[1:n], nil
}
