// Kernels is a program whose work is all arithmetic: "kernels NAME N" runs one of them N times and prints a checksum.
package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"sort"
	"strconv"
)

var kernels = map[string]func(n int) uint64{
	"sha256": sum256,
	"aes":    encrypt,
	"sort":   order,
	"crc32":  cyclic,
	"json":   marshal,
	"hash64": hash64,
}

func main() {
	if len(os.Args) != 3 || kernels[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: kernels sha256|aes|sort|crc32|json|hash64 N")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Printf("%016x\n", kernels[os.Args[1]](n))
}

// numbers returns 64 KiB that look random and are always the same.
func numbers() []byte {
	b := make([]byte, 0, 64<<10)
	for x := uint64(1); len(b) < cap(b); {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

func sum256(n int) (sum uint64) {
	b := numbers()
	for range n {
		h := sha256.Sum256(b)
		copy(b, h[:])
		sum += binary.LittleEndian.Uint64(h[:])
	}
	return sum
}

func encrypt(n int) (sum uint64) {
	b := numbers()
	block, err := aes.NewCipher(b[:16])
	if err != nil {
		panic(err)
	}
	for range n {
		cipher.NewCTR(block, b[16:32]).XORKeyStream(b, b)
		sum += binary.LittleEndian.Uint64(b)
	}
	return sum
}

func order(n int) (sum uint64) {
	b := numbers()
	for range n {
		list := make([]int, len(b)/8)
		for i := range list {
			list[i] = int(binary.LittleEndian.Uint64(b[8*i:]) >> 8)
		}
		sort.Ints(list)
		sum += uint64(list[len(list)/2])
		b[0]++
	}
	return sum
}

func cyclic(n int) (sum uint64) {
	b := numbers()
	for range n {
		sum += uint64(crc32.ChecksumIEEE(b))
		b[0]++
	}
	return sum
}

func marshal(n int) (sum uint64) {
	type record struct {
		Name   string
		Values []float64
		Tags   map[string]int
	}
	in := record{"kernels", []float64{1.5, 2.25, 1e300, -0.1}, map[string]int{"a": 1, "b": 195}}
	for i := range n {
		in.Values[0] = float64(i)
		text, err := json.Marshal(in)
		if err != nil {
			panic(err)
		}
		var out record
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil {
			panic(err)
		}
		sum += uint64(len(text)) + uint64(out.Tags["b"])
	}
	return sum
}

// hash64 is a loop with multipliers that hold c2, c3 and ca: the worst case for blinding only what is dangerous.
func hash64(n int) uint64 {
	h, b := uint64(0x27d4eb2f165667c5), numbers()
	for range n {
		for i := 0; i+8 <= len(b); i += 8 {
			h ^= binary.LittleEndian.Uint64(b[i:]) * 0xc2b2ae3d27d4eb4f
			h = (h<<31 | h>>33) * 0x9e3779b185ebca87
			h += 0x85ebca77c2b2ae63
		}
	}
	return h
}
