package fs

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	protocol "usui/host/vhostuser"
	"usui/machine/virtio"
	"usui/machine/virtio/vhostuser"
)

const deviceID = 26 // virtio 1.2 section 5.11.1

// MaxTag is the size of the configuration's tag in bytes.
const MaxTag = 36

// queueSize is the size of both queues. Linux makes no request larger than its queue: 1 MiB in pages fit.
const queueSize = 1024

// Layout of FUSE messages (include/uapi/linux/fuse.h).
const (
	inHeaderSize  = 40 // length, opcode, unique, then what concerns nobody here
	outHeaderSize = 16 // length, error, unique
	opcodeAt      = 4
	uniqueAt      = 8
	opForget      = 2
	opBatchForget = 42
)

// Config describes a folder.
type Config struct {
	Tag    string           // by which the guest mounts it
	Client *protocol.Client // connection to virtiofsd; stays owned by the caller
	End    func()           // ends virtiofsd; see [vhostuser.Config]
	Log    *slog.Logger     // nil: discard
}

// New makes the device.
func New(c Config) (*vhostuser.Device, error) {
	if c.Tag == "" || len(c.Tag) > MaxTag || strings.ContainsRune(c.Tag, 0) {
		return nil, fmt.Errorf("tag %q: must have 1 to %d bytes", c.Tag, MaxTag)
	}
	space := make([]byte, MaxTag+4)
	copy(space, c.Tag)
	binary.LittleEndian.PutUint32(space[MaxTag:], 1) // num_request_queues
	return vhostuser.New(vhostuser.Config{
		Name: "share " + c.Tag, Client: c.Client, ID: deviceID, QueueSizes: []uint16{queueSize, queueSize}, Space: space,
		End: c.End, Refuse: refuse, Open: open, Log: c.Log,
	})
}

// open says whether a request waits for its answer. One that gets none is open if anybody asks.
func open(c *virtio.Chain) bool {
	var in [inHeaderSize]byte
	if copyFrom(in[:], c.Out) < len(in) {
		return false
	}
	if c.InLen == 0 {
		op := binary.LittleEndian.Uint32(in[opcodeAt:])
		return op == opForget || op == opBatchForget
	}
	var out [outHeaderSize]byte
	return copyFrom(out[:], c.In) == len(out) && [8]byte(out[uniqueAt:]) != [8]byte(in[uniqueAt:])
}

// refuse answers a request with ENOTCONN.
func refuse(_ int, c *virtio.Chain) uint32 {
	code := -int32(unix.ENOTCONN)
	var in, out [outHeaderSize]byte // the first 16 bytes of a question have the number in the same place
	if copyFrom(in[:], c.Out) < len(in) || c.InLen < len(out) {
		return 0
	}
	binary.LittleEndian.PutUint32(out[:], outHeaderSize)
	binary.LittleEndian.PutUint32(out[4:], uint32(code))
	copy(out[uniqueAt:], in[uniqueAt:])
	copyTo(c.In, out[:])
	return outHeaderSize
}

// copyFrom fills p from the beginning of bufs and returns how many bytes there were.
func copyFrom(p []byte, bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += copy(p[n:], b)
	}
	return n
}

// copyTo writes p to the beginning of bufs, which have room.
func copyTo(bufs [][]byte, p []byte) {
	for _, b := range bufs {
		p = p[copy(b, p):]
	}
}
