package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Names of architectures, as uname -m prints them.
const (
	archX86   = "x86_64"
	archARM64 = "aarch64"
)

// format is what an image file is.
type format int

const (
	formatBzImage format = iota + 1
	formatELF
	formatARM64
)

// Magic numbers at fixed places of a file.
const (
	elfMagic   = "\x7fELF"
	gzipMagic  = "\x1f\x8b"       // RFC 1952 section 2.3.1
	arm64Magic = "ARM\x64"        // at 56: arm64/booting.rst
	riscvMagic = "RSC\x05"        // at 56: riscv/boot-image-header.rst
	zbootMagic = "MZ\x00\x00zimg" // linux/drivers/firmware/efi/libstub/zboot-header.S
)

// others are files that people pass for kernels by mistake.
var others = [...]struct{ magic, what string }{
	{zbootMagic, "an EFI zboot image, which needs EFI firmware; use the vmlinux, Image or bzImage that it was made from"},
	{"MZ", "an EFI program, not a Linux kernel"},
	{gzipMagic, "compressed with gzip; unpack it first"},
	{"\xfd7zXZ\x00", "compressed with xz; unpack it first"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"},
	{"BZh", "compressed with bzip2; unpack it first"},
	{"0707", "a cpio archive; is it the initial RAM disk?"},
	{"!<arch>\n", "an archive (a Debian package?); take the kernel out of it first"},
}

// detect says which format an image has, and refuses a kernel of another architecture than arch.
func detect(image []byte, arch string) (format, error) {
	switch {
	case bytes.HasPrefix(image, []byte(elfMagic)):
		return formatELF, checkELFArch(image, arch)
	case isBzImage(image):
		return formatBzImage, checkArch(archX86, arch)
	case magicAt(image, arm64MagicAt, arm64Magic), isGzipARM64(image):
		return formatARM64, checkArch(archARM64, arch)
	case magicAt(image, arm64MagicAt, riscvMagic):
		return 0, checkArch("riscv64", arch)
	}
	for _, o := range others {
		if magicAt(image, 0, o.magic) {
			return 0, errors.New(o.what)
		}
	}
	return 0, fmt.Errorf("not a kernel: begins with % x; a bzImage (vmlinuz) or ELF file (vmlinux) is needed", image[:min(8, len(image))])
}

func checkArch(has, want string) error {
	if has != want {
		return fmt.Errorf("a kernel for %s; this machine is %s", has, want)
	}
	return nil
}

func magicAt(b []byte, off int, magic string) bool {
	return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
}

// Shorthands for little-endian fields, which is what all formats here use.
var le = binary.LittleEndian
