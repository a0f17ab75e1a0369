package boot

import (
	"bytes"
	"fmt"
)

// Offsets of the setup header's fields from the start of a bzImage, and of boot_params alike (x86/boot.rst, "The
// Real-Mode Kernel Header").
const (
	hdrStart         = 0x1f1
	hdrSetupSects    = 0x1f1
	hdrBootFlag      = 0x1fe
	hdrJump          = 0x200
	hdrMagic         = 0x202
	hdrVersion       = 0x206
	hdrTypeOfLoader  = 0x210
	hdrLoadflags     = 0x211
	hdrRamdiskImage  = 0x218
	hdrRamdiskSize   = 0x21c
	hdrCmdLinePtr    = 0x228
	hdrInitrdAddrMax = 0x22c
	hdrXloadflags    = 0x236
	hdrCmdlineSize   = 0x238
	hdrPayloadOffset = 0x248
	hdrPayloadLength = 0x24c
	hdrSetupData     = 0x250
	hdrPrefAddress   = 0x258
	hdrInitSize      = 0x260
	hdrEnd           = 0x268 // of the fields that protocol 2.12 has and that are used here
	hdrLimit         = 0x290 // where boot_params goes on with other things
)

// Values of those fields.
const (
	bootFlag            = 0xaa55
	hdrS                = "HdrS"
	minVersion          = 0x20c // 2.12: the first one with xloadflags
	xlfKernel64         = 1 << 0
	loadedHigh          = 1 << 0
	sectorSize          = 512
	defaultCmdlineSize  = 2047       // COMMAND_LINE_SIZE - 1 on x86
	defaultInitrdMax    = 0x7fffffff // what every x86_64 kernel says
	defaultSetupSectors = 4
)

// setupHeader is what Load needs of a bzImage's header.
type setupHeader struct {
	raw          []byte // from hdrStart to the header's own end
	payload      []byte // compressed image, the size field at its end left out
	unpackedSize uint64 // what the size field says, in bytes
	prefAddress  uint64 // physical address for which the kernel is linked
	initSize     uint64 // bytes from prefAddress on that the kernel needs before it knows of a memory map
	initrdMax    uint64 // highest address that a byte of the initial RAM disk may have
	cmdlineSize  uint64 // bytes, without the final zero
}

func isBzImage(image []byte) bool {
	return magicAt(image, hdrMagic, hdrS) && le.Uint16(image[hdrBootFlag:]) == bootFlag
}

// parseSetupHeader reads the header of a file for which isBzImage holds.
func parseSetupHeader(image []byte) (*setupHeader, error) {
	if len(image) < hdrEnd {
		return nil, fmt.Errorf("truncated: %d bytes are shorter than a bzImage's header", len(image))
	}
	if v := le.Uint16(image[hdrVersion:]); v < minVersion {
		return nil, fmt.Errorf("boot protocol %d.%02d; 2.12 or newer is needed (Linux 3.8)", v>>8, v&0xff)
	}
	if x := le.Uint16(image[hdrXloadflags:]); x&xlfKernel64 == 0 {
		return nil, fmt.Errorf("a kernel of 32 bits (xloadflags %#x); one of 64 bits is needed", x)
	}
	// The jump over the header is a short one; its displacement is the header's length (boot.rst, field "jump").
	end := min(hdrMagic+int(image[hdrJump+1]), hdrLimit, len(image))
	h := &setupHeader{
		raw:         bytes.Clone(image[hdrStart:max(end, hdrEnd)]), // outlives the mapped file
		prefAddress: le.Uint64(image[hdrPrefAddress:]),
		initSize:    uint64(le.Uint32(image[hdrInitSize:])),
		initrdMax:   uint64(le.Uint32(image[hdrInitrdAddrMax:])),
		cmdlineSize: uint64(le.Uint32(image[hdrCmdlineSize:])),
	}
	return h, h.findPayload(image)
}

// findPayload cuts the compressed image out of the file. The build appends the unpacked size in 4 bytes to what every
// compressor but gzip writes; gzip's own last field is the same (boot.rst, "payload_length"; RFC 1952, ISIZE).
func (h *setupHeader) findPayload(image []byte) error {
	sects := uint64(image[hdrSetupSects])
	if sects == 0 {
		sects = defaultSetupSectors
	}
	start := (sects+1)*sectorSize + uint64(le.Uint32(image[hdrPayloadOffset:]))
	length := uint64(le.Uint32(image[hdrPayloadLength:]))
	if length < 4+minPayload {
		return fmt.Errorf("a payload of %d bytes holds no kernel", length)
	}
	if start+length > uint64(len(image)) {
		return fmt.Errorf("truncated: the payload ends at byte %d, the file at %d", start+length, len(image))
	}
	end := start + length
	h.unpackedSize = uint64(le.Uint32(image[end-4:]))
	h.payload = image[start:end]
	if h.unpackedSize > h.initSize {
		return fmt.Errorf("the payload claims to unpack to %d bytes, the header allows %d", h.unpackedSize, h.initSize)
	}
	return nil
}
