package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Fields of the flat arm64 Image's header (arm64/booting.rst, "Call the kernel image").
const (
	arm64TextOffset = 8
	arm64ImageSize  = 16
	arm64Flags      = 24
	arm64MagicAt    = 56
	arm64HeaderSize = 64

	arm64BigEndian = 1 << 0 // flags
)

// arm64Header is what the header of an arm64 Image says.
type arm64Header struct {
	textOffset uint64 // bytes from a 2 MiB boundary at which the image is to lie
	imageSize  uint64 // bytes that the kernel needs there, .bss included
}

// isGzipARM64 says whether image is a compressed arm64 Image; that is how distributions ship it.
func isGzipARM64(image []byte) bool {
	head, err := gzipHead(image)
	return err == nil && magicAt(head, arm64MagicAt, arm64Magic)
}

// gzipHead unpacks as much as a header.
func gzipHead(image []byte) ([]byte, error) {
	if !magicAt(image, 0, gzipMagic) {
		return nil, gzip.ErrHeader
	}
	r, err := gzip.NewReader(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	head := make([]byte, arm64HeaderSize)
	_, err = io.ReadFull(r, head)
	return head, err
}

// parseARM64Header reads the header of an Image, compressed or not.
func parseARM64Header(image []byte) (*arm64Header, error) {
	if magicAt(image, 0, gzipMagic) {
		head, err := gzipHead(image)
		if err != nil {
			return nil, fmt.Errorf("unpack gzip header: %w", err)
		}
		image = head
	}
	if len(image) < arm64HeaderSize {
		return nil, fmt.Errorf("truncated: %d bytes are shorter than an arm64 Image's header", len(image))
	}
	h := &arm64Header{
		textOffset: le.Uint64(image[arm64TextOffset:]),
		imageSize:  le.Uint64(image[arm64ImageSize:]),
	}
	if h.imageSize == 0 {
		return nil, errors.New("an arm64 Image without image_size; Linux 3.17 or newer is needed")
	}
	if le.Uint64(image[arm64Flags:])&arm64BigEndian != 0 {
		return nil, errors.New("a big-endian arm64 Image; a little-endian one is needed")
	}
	return h, nil
}
