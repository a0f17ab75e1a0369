package usernet

import (
	"encoding/binary"
	"os"
)

// Offload is what the guest's driver takes from its card, in the bits of TUNSETOFFLOAD (linux/if_tun.h).
type Offload uint32

// Offloads that mean something here.
const (
	OffloadChecksum Offload = 1 << 0 // TUN_F_CSUM: checksums of TCP and UDP that are not finished
	OffloadTSO4     Offload = 1 << 1 // TUN_F_TSO4: TCP segments of up to 64 KiB
)

// OffloadBytes is the length of the datagram that carries an [Offload]: the bits, in host order. No frame is as short.
const OffloadBytes = 4

// SendOffload tells the process behind a socket of [Process.Frames] what the guest's driver takes.
func SendOffload(frames *os.File, o Offload) error {
	_, err := frames.Write(binary.NativeEndian.AppendUint32(nil, uint32(o)))
	return err
}

// ParseOffload reads what SendOffload sent.
func ParseOffload(datagram []byte) (Offload, bool) {
	if len(datagram) != OffloadBytes {
		return 0, false
	}
	return Offload(binary.NativeEndian.Uint32(datagram)), true
}
