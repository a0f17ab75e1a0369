package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var (
	wazeroMagic = []byte("WAZEVO")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// reader takes numbers off the front of a file. What is not there reads as 0, and short says so.
type reader struct {
	rest  []byte
	short bool
}

// take takes n bytes, if there are so many.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.short = nil, true
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// parseWazero reads a file of wazero's compilation cache, as version 1.12 writes them (engine_cache.go of wazevo): magic, length of the
// version and version, number of functions, where each begins, length of the code, code, its CRC-32C. Functions are those
// that the module defines, in its order; each reaches up to the next.
func parseWazero(content []byte) (program, error) {
	r := reader{rest: content}
	r.take(uint64(len(wazeroMagic)))
	if length := r.take(1); length != nil {
		r.take(uint64(length[0]))
	}
	n := r.uint32()
	offsets := reader{rest: r.take(uint64(n) * 8)}
	code := r.take(r.uint64())
	sum := r.uint32()
	switch {
	case r.short:
		return program{}, errors.New("the file of wazero's cache is cut off")
	case sum != crc32.Checksum(code, castagnoli):
		return program{}, fmt.Errorf("the code has the checksum %#x, and not %#x as the file says", crc32.Checksum(code, castagnoli), sum)
	}
	functions := make([]Function, n)
	for i := range functions {
		off := offsets.uint64()
		if off > uint64(len(code)) || i > 0 && int(off) < functions[i-1].Off {
			return program{}, fmt.Errorf("function %d begins at %#x, which is before the last one or behind the %d bytes of code", i, off, len(code))
		}
		functions[i] = Function{Off: int(off), Size: len(code) - int(off)}
		if i > 0 {
			functions[i-1].Size = int(off) - functions[i-1].Off
		}
	}
	return program{segments: []segment{{code: code, functions: functions}}}, nil
}
