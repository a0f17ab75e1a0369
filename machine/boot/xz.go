package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"runtime/debug"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// The parts of The .xz File Format, version 1.2.1, that a kernel uses. The build makes one stream of blocks with the
// filters x86 BCJ and LZMA2 (linux/scripts/xz_wrap.sh). The library for XZ refuses BCJ; its LZMA2 decoder is used here.
const (
	xzHeaderSize = 12 // section 2.1.1: magic, flags, CRC32

	xzIndexIndicator = 0x00 // section 3: what stands in place of a block header's size

	xzFilterCount      = 0x03 // section 3.1.2: block flags
	xzReservedFlags    = 0x3c
	xzHasCompressed    = 0x40
	xzHasUncompressed  = 0x80
	xzFilterX86        = 0x04 // section 5.3.2
	xzFilterLZMA2      = 0x21 // section 5.3.1
	xzMaxDictBits      = 40
	xzCheckNone        = 0x00 // section 2.1.1.2
	xzCheckCRC32       = 0x01
	xzCheckCRC64       = 0x04
	xzCheckSHA256      = 0x0a
	xzMaxVLI           = 9 // section 1.2
	xzMinBlockHeader   = 8
	xzLZMA2PropsSize   = 1
	xzBCJPropsSize     = 4
	lzmaMinDict        = lzma.MinDictCap
	xzBlockAlign       = 4
	xzStreamFlagsStart = 6
)

var errXZHeader = errors.New("corrupt xz header")

// xzBlock is what a block header says.
type xzBlock struct {
	dict     uint64 // bytes
	x86      bool
	bcjStart uint32
}

// unpackXZ implements the .xz container over the library's LZMA2 decoder.
func unpackXZ(ctx context.Context, dst, src []byte) (int, error) {
	src = src[:len(src)-sizeField]
	newCheck, err := xzStreamHeader(src)
	if err != nil {
		return 0, err
	}
	defer debug.FreeOSMemory() // dictionaries of up to the kernel's size, which nobody needs any more
	r := bytes.NewReader(src[xzHeaderSize:])
	for n := 0; ; {
		b, err := readXZBlockHeader(r)
		if err != nil || b == nil {
			return n, err // no block: the index, whose sizes the caller knows already
		}
		m, err := b.unpack(ctx, dst[n:], r)
		if err != nil {
			return n, fmt.Errorf("block at %#x of the output: %w", n, err)
		}
		if err := checkXZBlock(r, newCheck(), dst[n:n+m]); err != nil {
			return n, fmt.Errorf("block at %#x of the output: %w", n, err)
		}
		n += m
	}
}

// xzStreamHeader checks the stream header and returns the hash that ends each block.
func xzStreamHeader(src []byte) (func() hash.Hash, error) {
	if len(src) < xzHeaderSize {
		return nil, io.ErrUnexpectedEOF
	}
	flags := src[xzStreamFlagsStart : xzStreamFlagsStart+2]
	if crc32.ChecksumIEEE(flags) != le.Uint32(src[xzStreamFlagsStart+2:]) || flags[0] != 0 {
		return nil, errXZHeader
	}
	switch flags[1] {
	case xzCheckNone:
		return func() hash.Hash { return nil }, nil
	case xzCheckCRC32:
		return func() hash.Hash { return crc32.NewIEEE() }, nil
	case xzCheckCRC64:
		return func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) }, nil
	case xzCheckSHA256:
		return sha256.New, nil
	}
	return nil, fmt.Errorf("unsupported xz check %#x", flags[1])
}

// readXZBlockHeader returns nil when the index comes instead of a block.
func readXZBlockHeader(r *bytes.Reader) (*xzBlock, error) {
	var h [1024]byte // (255 + 1) * 4
	if _, err := io.ReadFull(r, h[:1]); err != nil {
		return nil, err
	}
	if h[0] == xzIndexIndicator {
		return nil, nil
	}
	size := (int(h[0]) + 1) * 4
	if _, err := io.ReadFull(r, h[1:size]); err != nil {
		return nil, err
	}
	if size < xzMinBlockHeader || crc32.ChecksumIEEE(h[:size-4]) != le.Uint32(h[size-4:]) {
		return nil, errXZHeader
	}
	flags := h[1]
	p := vliReader{b: h[2 : size-4]}
	if flags&xzReservedFlags != 0 {
		return nil, errXZHeader
	}
	if flags&xzHasCompressed != 0 {
		p.next() // not needed: LZMA2 knows its end
	}
	if flags&xzHasUncompressed != 0 {
		p.next()
	}
	return p.filters(int(flags&xzFilterCount) + 1)
}

// vliReader reads the variable-length integers of section 1.2.
type vliReader struct {
	b   []byte
	bad bool
}

func (p *vliReader) next() uint64 {
	var v uint64
	for i := 0; i < min(xzMaxVLI, len(p.b)); i++ {
		v |= uint64(p.b[i]&0x7f) << (7 * i)
		if p.b[i]&0x80 == 0 {
			p.b = p.b[i+1:]
			return v
		}
	}
	p.bad = true
	return 0
}

// bytes returns the next n bytes.
func (p *vliReader) bytes(n uint64) []byte {
	b, ok := part(p.b, 0, n)
	if !ok {
		p.bad = true
		return nil
	}
	p.b = p.b[n:]
	return b
}

// filters reads the filter flags (section 3.1.5): LZMA2, with at most an x86 BCJ filter before it.
func (p *vliReader) filters(n int) (*xzBlock, error) {
	var b xzBlock
	for i := range n {
		id := p.next()
		props := p.bytes(p.next())
		switch {
		case p.bad:
			return nil, errXZHeader
		case id == xzFilterX86 && i == 0 && n == 2:
			b.x86 = true
			if len(props) == xzBCJPropsSize {
				b.bcjStart = le.Uint32(props)
			}
		case id == xzFilterLZMA2 && i == n-1 && len(props) == xzLZMA2PropsSize && props[0] <= xzMaxDictBits:
			b.dict = lzma2Dict(props[0])
		default:
			return nil, fmt.Errorf("unsupported xz filter %#x", id)
		}
	}
	return &b, nil
}

// lzma2Dict decodes the dictionary size (section 5.3.1).
func lzma2Dict(bits byte) uint64 {
	if bits == xzMaxDictBits {
		return 1<<32 - 1
	}
	return (2 | uint64(bits&1)) << (bits/2 + 11)
}

// unpack decodes a block's data into the front of dst.
func (b *xzBlock) unpack(ctx context.Context, dst []byte, r io.Reader) (int, error) {
	// A dictionary larger than the output is never filled.
	config := lzma.Reader2Config{DictCap: int(max(lzmaMinDict, min(b.dict, uint64(len(dst)))))}
	lz, err := config.NewReader2(r)
	if err != nil {
		return 0, err
	}
	n, err := readInto(ctx, dst, lz)
	if err != nil {
		return n, err
	}
	if !lz.EOS() {
		return n, io.ErrUnexpectedEOF
	}
	if b.x86 {
		decodeBCJ(dst[:n], b.bcjStart)
	}
	return n, nil
}

// checkXZBlock skips the padding after a block's data and compares the check that follows.
func checkXZBlock(r *bytes.Reader, check hash.Hash, data []byte) error {
	if at := r.Size() - int64(r.Len()); at%xzBlockAlign != 0 {
		// The stream header is a multiple of 4 long too, so positions after it are as good as positions in the file.
		if _, err := r.Seek(xzBlockAlign-at%xzBlockAlign, io.SeekCurrent); err != nil {
			return err
		}
	}
	if check == nil {
		return nil
	}
	check.Write(data)
	got := check.Sum(nil)
	if check.Size() < sha256.Size {
		slices.Reverse(got) // CRCs are stored little-endian
	}
	want := make([]byte, len(got))
	if _, err := io.ReadFull(r, want); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("checksum % x instead of % x", got, want)
	}
	return nil
}
