package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is persistent memory that a program has to itself, and that others than the processor write to: a network card, or the kernel for it. It begins
// with a block that says whose it is:
//
//	 0 magic    8 bytes
//	 8 identity 16 bytes
//	24 crc      u32  CRC32C of the above
type Device struct {
	memory []byte
	file   *os.File // is locked; nil for memory of the caller's
}

const (
	deviceBlock = 4096
	deviceUsed  = 28
)

var deviceMagic = []byte("usui-kvd")

// OpenDevice maps a device of the kernel's driver device_dax, as /dev/dax0.0 (Documentation/driver-api/nvdimm, "DAX"), for this process alone.
func OpenDevice(path string) (_ *Device, err error) {
	if !canStream {
		return nil, fmt.Errorf("persistent memory is written by amd64 processors only, this is %s", runtime.GOARCH)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close() // nothing was written
		}
	}()
	size, err := deviceSize(f)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	} else if err != nil {
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return &Device{p, f}, nil
}

// deviceSize asks sysfs (Documentation/ABI/testing/sysfs-bus-dax).
func deviceSize(f *os.File) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	sys := fmt.Sprintf("/sys/dev/char/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	subsystem, err := os.Readlink(sys + "/subsystem")
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || err != nil || !bytes.HasSuffix([]byte(subsystem), []byte("/dax")) {
		return 0, fmt.Errorf("%s is no DAX device: make one of a namespace with ndctl create-namespace --mode devdax", f.Name())
	}
	// What is not on an NVDIMM, such as memory of CXL, may be volatile; a virtual machine's (virtio_pmem) is durable when its host has synced it, and no sooner.
	if where, err := filepath.EvalSymlinks(sys); err != nil || !strings.Contains(where, "/ndbus") || strings.Contains(where, "/virtio") {
		return 0, fmt.Errorf("%s is at %s, which is no NVDIMM: what is written there may not be durable", f.Name(), where)
	}
	text, err := os.ReadFile(sys + "/size")
	if err != nil {
		return 0, err
	}
	var size int
	if _, err := fmt.Sscan(string(text), &size); err != nil || size <= deviceBlock {
		return 0, fmt.Errorf("%s: a size of %.40q bytes", f.Name(), text)
	}
	return size, nil
}

// DeviceOn makes a device of memory that begins at a page and stays the caller's. It is as persistent as that.
func DeviceOn(memory []byte) *Device { return &Device{memory, nil} }

// Frames is the memory behind the first block.
func (d *Device) Frames() []byte { return d.memory[deviceBlock:] }

// Identity is what SetIdentity gave the device, zeros if nobody did, or a crash came in between. A block that has something else is an error. It may
// fault.
func (d *Device) Identity() (id [16]byte, err error) {
	block := d.memory[:deviceBlock]
	p := block[:deviceUsed]
	switch none := make([]byte, deviceBlock); {
	case bytes.Equal(p[:8], deviceMagic) && crc32.Checksum(p[:24], castagnoli) == binary.LittleEndian.Uint32(p[24:]):
		copy(id[:], p[8:])
	case !bytes.Equal(block[deviceUsed:], none[deviceUsed:]) || !bytes.Equal(p[:8], deviceMagic) && !bytes.Equal(p[:8], none[:8]):
		return id, errors.New("its first block holds something; if nobody needs that, clear it, as with daxio --zero --len 4k --output /dev/dax0.0")
	}
	return id, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SetIdentity says whose the device is, durably. After a crash it is nobody's or this one's.
func (d *Device) SetIdentity(id [16]byte) error {
	return Guard("write to the device", func() error {
		p := append(append([]byte(nil), deviceMagic...), id[:]...)
		p = binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
		copy(d.memory, p)
		d.Flush(d.memory[:deviceUsed])
		d.Fence()
		return nil
	})
}

// Flush begins to make bytes of the device durable, whoever wrote them; [Device.Fence] ends that. It may fault.
func (d *Device) Flush(p []byte) { writeBack(p) }

// Fence waits for what was flushed.
func (d *Device) Fence() { fence() }

// Close gives the memory back.
func (d *Device) Close() error {
	if d.file == nil {
		return nil
	}
	return errors.Join(os.NewSyscallError("munmap", unix.Munmap(d.memory)), d.file.Close())
}

var _ io.Closer = (*Device)(nil)
