package blind

import (
	"encoding/binary"
	"fmt"
	"io"

	"usui/layer/blind/terminator"
	"usui/layer/blind/wasm"
)

// firstKeys is how many keys there are at least. Few would let one constant that becomes known unmask many others; each costs the
// compiler some work at every call, because globals may change there.
const firstKeys = 8

// maxDraws bounds the search for a key that fits a constant. About one in five does for a number of 64 bits, one in ten with direct branches.
const maxDraws = 10_000

// key is a random number that a global of the rewritten module holds.
type key struct {
	value  uint64
	global uint32
}

// keys hands out keys for constants.
type keys struct {
	set    terminator.Set // what neither a key nor a blinded value may hold
	arch   terminator.Arch
	random io.Reader
	base   uint32 // index of the first one's global

	padding uint32 // globals that hold nothing, in front of the first one's

	list []key
	next int // where the last search ended: each key has its turn
}

// forValue returns a key for the low n bytes (4 or 8) of value: neither the key nor the two xored hold a terminator, and the two xored also
// begin and complete none.
func (k *keys) forValue(value uint64, n int) (key, error) {
	if err := k.some(); err != nil {
		return key{}, err
	}
	for range k.list {
		k.next = (k.next + 1) % len(k.list)
		if c := k.list[k.next]; k.fits(c.value, value, n) {
			return c, nil
		}
	}
	for range maxDraws {
		c, err := k.draw()
		if err != nil {
			return key{}, err
		}
		if k.fits(c, value, n) {
			return k.keep(c), nil
		}
	}
	return key{}, fmt.Errorf("none of %d keys fits a constant", maxDraws)
}

// some draws the first keys, unless they are there.
func (k *keys) some() error {
	for len(k.list) < firstKeys {
		c, err := k.draw()
		if err != nil {
			return err
		}
		k.keep(c)
	}
	return nil
}

func (k *keys) keep(value uint64) key {
	c := key{value, k.base + k.padding + uint32(len(k.list))}
	k.list = append(k.list, c)
	return c
}

// draw returns a fresh key.
func (k *keys) draw() (uint64, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(k.random, b[:]); err != nil {
			return 0, fmt.Errorf("draw a key: %w", err)
		}
		if k.set.Clean(k.arch, b[:]) {
			return binary.LittleEndian.Uint64(b[:]), nil
		}
	}
}

func (k *keys) fits(key, value uint64, n int) bool {
	return k.set.Strict(k.arch, bytesOf(key^value, n))
}

// bytesOf returns the n low bytes of a value as code holds them.
func bytesOf(value uint64, n int) []byte {
	return binary.LittleEndian.AppendUint64(make([]byte, 0, 8), value)[:n]
}

// appendKey appends what pushes a key, as a number of that type.
func appendKey(b []byte, c key, t wasm.ValType) []byte {
	b = wasm.AppendIndex(b, wasm.OpGlobalGet, c.global)
	if t == wasm.I32 {
		b = wasm.AppendOp(b, wasm.OpI32WrapI64)
	}
	return b
}
