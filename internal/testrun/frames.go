package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Lines that frame a package's output. The control character keeps them apart from what tests print.
const (
	frameBegin = "\x01begin "
	frameEnd   = "\x01end "
)

// frameReader splits the lab's output into packages.
type frameReader struct {
	each    func(event)
	open    func(pkg string) (*converter, error)
	ended   map[string]bool // packages whose end was seen
	current *converter      // nil between packages
}

// readAll reads the lab's output to its end. A package that it does not end gets no verdict.
func (f *frameReader) readAll(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := f.line(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return f.close()
		}
		if err != nil {
			return fmt.Errorf("read the lab's output: %w", err)
		}
	}
}

func (f *frameReader) line(line string) (err error) {
	name, begins := strings.CutPrefix(line, frameBegin)
	status, ends := strings.CutPrefix(line, frameEnd)
	switch {
	case begins:
		if err := f.close(); err != nil {
			return err
		}
		f.current, err = f.open(strings.TrimSpace(name))
		return err
	case ends && f.current != nil:
		f.ended[f.current.pkg] = true
		c := f.current
		f.current = nil
		return c.end(strings.TrimSpace(status))
	case f.current != nil:
		_, err = io.WriteString(f.current.in, line)
		return err
	}
	f.each(event{Action: "output", Output: line})
	return nil
}

// close hands on what a package without an end has said so far.
func (f *frameReader) close() error {
	if f.current == nil {
		return nil
	}
	c := f.current
	f.current = nil
	return c.drain()
}
