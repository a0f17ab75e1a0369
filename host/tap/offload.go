package tap

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Offloads is the work that may be left undone in frames that are read. The numbers are the kernel's TUN_F_*.
type Offloads uint32

// Each of the others needs Checksum; ECN needs a TSO.
const (
	Checksum Offloads = unix.TUN_F_CSUM
	TSO4     Offloads = unix.TUN_F_TSO4
	TSO6     Offloads = unix.TUN_F_TSO6
	ECN      Offloads = unix.TUN_F_TSO_ECN
	USO      Offloads = unix.TUN_F_USO4 | unix.TUN_F_USO6 // Linux 6.2; the kernel has both or none
)

// SetOffloads says what the reader can do. What it cannot, the kernel does before a frame is read.
func (t *Tap) SetOffloads(o Offloads) error {
	if err := unix.IoctlSetInt(t.queues[0], unix.TUNSETOFFLOAD, int(o)); err != nil {
		return fmt.Errorf("tap %s: offloads %#x: %w", t.name, uint32(o), err)
	}
	return nil
}

// HasUSO says whether this kernel knows USO; all know the others. It leaves no offloads switched on.
func (t *Tap) HasUSO() bool {
	has := t.SetOffloads(Checksum|USO) == nil
	_ = t.SetOffloads(0) // fails only where the interface has gone, which the reader finds out
	return has
}
