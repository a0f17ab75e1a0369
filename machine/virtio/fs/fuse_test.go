package fs_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio/virtiotest"
)

// FUSE's messages (include/uapi/linux/fuse.h), as far as the tests use them.
const (
	opLookup = 1
	opForget = 2
	opOpen   = 14
	opRead   = 15
	opWrite  = 16
	opInit   = 26
	opCreate = 35

	rootNode = 1
)

// client is a FUSE client on a device's queues, like the one in a guest's kernel.
type client struct {
	*virtiotest.Driver
	t      *testing.T
	unique uint64
}

// le packs little-endian numbers.
func le(values ...any) (b []byte) {
	for _, v := range values {
		switch v := v.(type) {
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, v)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, v)
		case string:
			b = append(b, v...)
		}
	}
	return b
}

// question is a whole request.
func (c *client) question(op uint32, node uint64, body []byte) []byte {
	c.unique++
	return append(le(uint32(40+len(body)), op, c.unique, node, uint64(0), uint64(0)), body...)
}

// put makes a request available on a queue with room for an answer's header and n bytes.
func (c *client) put(queue int, op uint32, node uint64, body []byte, n int) (header, answer virtiotest.Buffer) {
	q := c.question(op, node, body)
	header, answer = c.In(16), c.In(max(n, 1))
	clear(c.Bytes(header)) // as Linux has it
	c.Queues[queue].Add(c.Out(q[:40]), c.Out(append(q[40:], 0)[:max(len(body), 1)]), header, answer)
	return header, answer
}

// call sends a request and returns the answer's body. An error is a unix.Errno.
func (c *client) call(op uint32, node uint64, body []byte, n int) ([]byte, error) {
	c.t.Helper()
	header, answer := c.put(1, op, node, body, n)
	_, written, ok := c.Queues[1].Wait()
	if !ok {
		c.t.Fatalf("the device broke: %v", c.Broken())
	}
	return c.answer(header, answer, c.unique, written)
}

// answer reads an answer.
func (c *client) answer(header, body virtiotest.Buffer, unique uint64, written uint32) ([]byte, error) {
	c.t.Helper()
	h := c.Bytes(header)
	size := binary.LittleEndian.Uint32(h)
	if got := binary.LittleEndian.Uint64(h[8:]); got != unique || size != written || size < 16 || size > 16+body.Len {
		c.t.Fatalf("answer %d of %d bytes to request %d, %d bytes written", got, size, unique, written)
	}
	if code := int32(binary.LittleEndian.Uint32(h[4:])); code != 0 {
		return nil, unix.Errno(-code)
	}
	return c.Bytes(body)[:size-16], nil
}

func (c *client) must(op uint32, node uint64, body []byte, n int) []byte {
	c.t.Helper()
	b, err := c.call(op, node, body, n)
	if err != nil {
		c.t.Fatalf("FUSE operation %d: %v", op, err)
	}
	return b
}

// init begins a session.
func (c *client) init() error {
	_, err := c.call(opInit, 0, le(uint32(7), uint32(31), uint32(1<<20), uint32(0)), 64)
	return err
}

// lookup finds a name in the root.
func (c *client) lookup(name string) (node uint64, err error) {
	b, err := c.call(opLookup, rootNode, le(name, "\x00"), 128)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// read reads a file in the root, up to 64 KiB of it.
func (c *client) read(name string) (string, error) {
	node, err := c.lookup(name)
	if err != nil {
		return "", err
	}
	opened, err := c.call(opOpen, node, le(uint32(unix.O_RDONLY), uint32(0)), 16)
	if err != nil {
		return "", err
	}
	handle := binary.LittleEndian.Uint64(opened)
	b, err := c.call(opRead, node, le(handle, uint64(0), uint32(64<<10), uint32(0), uint64(0), uint64(0)), 64<<10)
	return string(b), err
}

// create makes a file in the root.
func (c *client) create(name, content string) error {
	b, err := c.call(opCreate, rootNode, le(uint32(unix.O_WRONLY|unix.O_CREAT), uint32(0o644), uint64(0), name, "\x00"), 144)
	if err != nil {
		return err
	}
	node, handle := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[128:])
	b = c.must(opWrite, node, le(handle, uint64(0), uint32(len(content)), uint32(0), uint64(0), uint64(0), content), 8)
	if n := binary.LittleEndian.Uint32(b); int(n) != len(content) {
		return errors.New("a short write")
	}
	return nil
}
