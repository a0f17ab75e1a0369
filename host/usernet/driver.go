package usernet

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Offload is what the guest's driver takes from its card, in the bits of TUNSETOFFLOAD (linux/if_tun.h).
type Offload uint32

// Offloads that mean something here.
const (
	OffloadChecksum Offload = unix.TUN_F_CSUM // checksums of TCP and UDP that are not finished
	OffloadTSO4     Offload = unix.TUN_F_TSO4 // TCP segments of up to 64 KiB
)

// Driver is what a guest's driver wants of the process: a message on the first socket.
type Driver struct {
	Offload Offload
	Pairs   int // queue pairs, from the first on, on which it takes frames
}

// DriverBytes is the length of the datagram that carries a [Driver]: the offloads and the pairs, in host order. No frame is as short.
const DriverBytes = 8

// sendTime is what the process gets to make room for a message. It reads whatever the guest does, so it takes no time.
const sendTime = 5 * time.Second

// SendDriver tells the process behind a socket of [Process.Frames] what the guest's driver wants.
func SendDriver(frames int, d Driver) error {
	message := binary.NativeEndian.AppendUint32(nil, uint32(d.Offload))
	message = binary.NativeEndian.AppendUint32(message, uint32(d.Pairs))
	for {
		_, err := unix.Write(frames, message)
		if err != unix.EAGAIN && err != unix.EINTR {
			return os.NewSyscallError("write to "+Name, err)
		}
		room := []unix.PollFd{{Fd: int32(frames), Events: unix.POLLOUT}}
		n, err := unix.Poll(room, int(sendTime/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if n == 0 && err == nil {
			return fmt.Errorf("%s takes nothing for %v", Name, sendTime)
		}
	}
}

// ParseDriver reads what SendDriver sent.
func ParseDriver(datagram []byte) (Driver, bool) {
	if len(datagram) != DriverBytes {
		return Driver{}, false
	}
	return Driver{Offload(binary.NativeEndian.Uint32(datagram)), int(binary.NativeEndian.Uint32(datagram[4:]))}, true
}
