package initrd

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxUnpacked bounds what [Decompress] returns, in bytes: far above any kernel (60 MB) or module (20 MB), far below what a
// decompression bomb would fill memory with.
const maxUnpacked = 512 << 20

// Decompress unpacks data, whose packing it knows by the first bytes: gzip, xz or zstd. Data with none of these is returned as
// it is. Bytes behind the packed data are an error, and so is more than 512 MiB of output.
func Decompress(data []byte) ([]byte, error) {
	return decompress(data, maxUnpacked)
}

func decompress(data []byte, limit int64) ([]byte, error) {
	in := bytes.NewReader(data)
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack gzip: %w", err)
		}
		return readBounded("gzip", r, limit)
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		r, err := xz.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack xz: %w", err)
		}
		return readBounded("xz", r, limit)
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// One goroutine: the default starts one a CPU, which costs more than it gains for a module. Kernels are packed with
		// windows of 128 MiB (zstd --ultra -22).
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("unpack zstd: %w", err)
		}
		defer r.Close()
		return readBounded("zstd", r, limit)
	}
	return data, nil
}

func readBounded(packing string, r io.Reader, limit int64) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", packing, err)
	}
	if int64(len(out)) > limit {
		return nil, fmt.Errorf("unpack %s: more than %d bytes come out", packing, limit)
	}
	return out, nil
}
