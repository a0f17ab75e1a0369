package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// minPayload is the length of the longest magic number below.
const minPayload = 6

// chunk is how much a streaming decompressor yields between looks at the context.
const chunk = 1 << 20

// errLarger is what a payload gets that does not end where it promised.
var errLarger = errors.New("it unpacks to more than it promises")

// unpackers are the compressions of a kernel (linux/scripts/Makefile.lib), by their magic numbers. Each function
// unpacks src into dst, which is as long as the payload promises to become, and says how much it became; it never
// stores outside dst, and neither does it allocate by what src says.
var unpackers = [...]struct {
	name, magic string
	unpack      func(ctx context.Context, dst, src []byte) (int, error)
}{
	{"LZ4", lz4LegacyMagic, unpackLZ4},
	{"ZSTD", "\x28\xb5\x2f\xfd", unpackZSTD},
	{"XZ", "\xfd7zXZ\x00", unpackXZ},
	{"GZIP", gzipMagic, unpackGZIP},
	{"bzip2", "BZh", nil},
	{"LZMA", "\x5d\x00\x00", nil},
	{"LZO", "\x89LZO", nil},
}

// unpack decompresses a bzImage's payload, the size field at its end included, into dst, which has the length that the
// size field gives.
func unpack(ctx context.Context, dst, payload []byte) error {
	for _, u := range unpackers {
		if !magicAt(payload, 0, u.magic) {
			continue
		}
		if u.unpack == nil {
			return fmt.Errorf("unsupported compression %s; build the kernel with CONFIG_KERNEL_LZ4, ZSTD, XZ or GZIP", u.name)
		}
		n, err := u.unpack(ctx, dst, payload)
		if err == nil && n != len(dst) {
			err = fmt.Errorf("it unpacks to %d bytes instead of %d", n, len(dst))
		}
		if err != nil {
			return fmt.Errorf("unpack %s payload of %d bytes: %w", u.name, len(payload), err)
		}
		return nil
	}
	return fmt.Errorf("unknown compression: the payload begins with % x", payload[:minPayload])
}

// sizeField is what follows the compressed data of all formats but gzip.
const sizeField = 4

// The legacy frame of LZ4: a magic number, then blocks of their compressed size and data, each of which unpacks by
// itself to 8 MiB, but for the last one.
const (
	lz4LegacyMagic = "\x02\x21\x4c\x18"
	lz4LegacyBlock = 8 << 20
)

func unpackLZ4(ctx context.Context, dst, src []byte) (int, error) {
	src = src[len(lz4LegacyMagic) : len(src)-sizeField]
	n := 0
	for len(src) > 0 {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if len(src) < 4 {
			return n, io.ErrUnexpectedEOF
		}
		block, ok := part(src[4:], 0, uint64(le.Uint32(src)))
		if !ok {
			return n, fmt.Errorf("block of %d bytes: %w", le.Uint32(src), io.ErrUnexpectedEOF)
		}
		if n == len(dst) {
			return n, errLarger
		}
		m, err := lz4.UncompressBlock(block, dst[n:min(n+lz4LegacyBlock, len(dst))])
		if err != nil {
			return n, fmt.Errorf("block at %#x of the output: %w", n, err)
		}
		n += m
		src = src[4+len(block):]
	}
	return n, nil
}

func unpackZSTD(_ context.Context, dst, src []byte) (int, error) {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecodeAllCapLimit(true), // decode into dst only, never into a larger copy of it
		zstd.WithDecoderMaxWindow(zstdMaxWindow))
	if err != nil {
		return 0, err
	}
	defer d.Close()
	out, err := d.DecodeAll(src[:len(src)-sizeField], dst[:0:len(dst)])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = errLarger
	}
	return len(out), err
}

// zstdMaxWindow is that of "zstd --ultra -22" with a good margin. The window costs nothing: it is guest memory.
const zstdMaxWindow = 1 << 30

func unpackGZIP(ctx context.Context, dst, src []byte) (int, error) {
	r, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	r.Multistream(false)
	return readInto(ctx, dst, r)
}

// readInto fills dst from r, which must end there.
func readInto(ctx context.Context, dst []byte, r io.Reader) (int, error) {
	for n := 0; ; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if n == len(dst) {
			return n, expectEOF(r)
		}
		m, err := io.ReadFull(r, dst[n:min(n+chunk, len(dst))])
		n += m
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, nil // the caller compares n with what it expects
		}
		if err != nil {
			return n, err
		}
	}
}

// expectEOF makes r check its trailer, and refuses more data.
func expectEOF(r io.Reader) error {
	var extra [1]byte
	switch _, err := io.ReadFull(r, extra[:]); err {
	case io.EOF:
		return nil
	case nil:
		return errLarger
	default:
		return err
	}
}
