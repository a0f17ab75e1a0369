package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"usui/internal/debian"
	"usui/internal/initrd"
)

// errPacking is the error for a kernel that only its own code unpacks.
var errPacking = errors.New("packed in a way that is neither gzip nor zstd")

// bootable returns the file that QEMU boots: for amd64 the ELF image inside the kernel's bzImage, which QEMU enters through its
// PVH note, so that the guest does not have to unpack it. It is unpacked once, into the cache. A kernel that is packed with xz, as
// Debian's 6.1 series is, unpacks itself, which takes seconds: the library for xz lacks the filter for x86 code.
func (cfg Config) bootable(cacheDir string, k debian.Kernel) (string, error) {
	if cfg.Arch != "amd64" {
		return k.Image, nil
	}
	path, err := initrd.Cached(filepath.Join(cacheDir, "lab"), "vmlinux", initrd.Key(k.ID), func(out io.Writer) error {
		packed, err := os.ReadFile(k.Image)
		if err != nil {
			return err
		}
		elf, err := unpackKernel(packed)
		if err != nil {
			return fmt.Errorf("kernel %s: %w", k.Image, err)
		}
		_, err = out.Write(elf)
		return err
	})
	if errors.Is(err, errPacking) {
		return k.Image, nil
	}
	return path, err
}

// Fields of a bzImage's header (Documentation/arch/x86/boot.rst).
const (
	setupSectors  = 0x1f1 // 1 byte: sectors of real-mode code after the first
	headerMagic   = 0x202 // "HdrS"
	payloadOffset = 0x248 // 4 bytes, from the end of the real-mode code
	payloadLength = 0x24c // 4 bytes
	headerEnd     = 0x250
	sectorSize    = 512
)

// unpackKernel returns the ELF image in a bzImage.
func unpackKernel(image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	sectors := int64(image[setupSectors])
	if sectors == 0 {
		sectors = 4 // what the boot protocol says for very old kernels
	}
	begin := (sectors+1)*sectorSize + int64(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := begin + int64(binary.LittleEndian.Uint32(image[payloadLength:]))
	if end > int64(len(image)) || end < begin+4 {
		return nil, fmt.Errorf("payload from %#x to %#x does not lie in the file of %#x bytes", begin, end, len(image))
	}
	payload := image[begin:end]
	switch {
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}): // gzip ends with the size of what comes out
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}): // zstd has the kernel's build append it
		payload = payload[:len(payload)-4]
	default:
		return nil, errPacking
	}
	elf, err := initrd.Decompress(payload)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
		return nil, errors.New("its payload is no ELF image")
	}
	return elf, nil
}
