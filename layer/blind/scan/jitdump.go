package scan

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// jitdumpMagic is "JiTD" as a number of 32 bits, in a file of a little-endian machine.
var jitdumpMagic = []byte("DTiJ")

// Sizes and numbers of the format (tools/perf/Documentation/jitdump-specification.txt of Linux).
const (
	jitdumpHeader = 40
	recordHeader  = 16
	codeLoad      = 0 // a record that holds code
	codeLoadFixed = 40
)

// parseJitdump reads what a JIT compiler wrote for perf: each piece of code that it made, with its address and name.
func parseJitdump(content []byte) (program, error) {
	r := reader{rest: content}
	header := reader{rest: r.take(jitdumpHeader)}
	header.take(8) // magic, version
	size := header.uint32()
	arch, err := machine(elf.Machine(header.uint32()))
	if r.short || size < jitdumpHeader {
		return program{}, errors.New("the header of the jitdump is cut off")
	}
	if err != nil {
		return program{}, err
	}
	r.take(uint64(size) - jitdumpHeader)
	p := program{arch: arch, known: true}
	for len(r.rest) > 0 {
		at := len(content) - len(r.rest)
		id, length := r.uint32(), r.uint32()
		r.take(8) // time
		body := reader{rest: r.take(uint64(max(length, recordHeader)) - recordHeader)}
		if r.short || length < recordHeader {
			return program{}, fmt.Errorf("the record at %#x of the jitdump is cut off", at)
		}
		if id != codeLoad {
			continue
		}
		seg, err := body.load()
		if err != nil {
			return program{}, fmt.Errorf("the record at %#x of the jitdump: %w", at, err)
		}
		p.segments = append(p.segments, seg)
	}
	if r.short {
		return program{}, errors.New("the header of the jitdump is cut off")
	}
	return p, nil
}

// load reads the body of a record that holds code: process, thread, address (twice), length, number, name, code.
func (r *reader) load() (segment, error) {
	fixed := reader{rest: r.take(codeLoadFixed)}
	fixed.take(16)
	address, size := fixed.uint64(), fixed.uint64()
	name, code, ended := bytes.Cut(r.rest, []byte{0})
	if r.short || !ended || size > uint64(len(code)) {
		return segment{}, errors.New("its code is cut off")
	}
	return segment{address, code[:size:size], []Function{{string(name), 0, int(size)}}}, nil
}
