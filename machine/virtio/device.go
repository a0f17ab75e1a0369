package virtio

// Feature bits of the rings and the transport (virtio 1.2 section 6). The transport offers these three for every device.
const (
	FeatureIndirectDesc = 1 << 28 // a descriptor may refer to a table of descriptors
	FeatureEventIdx     = 1 << 29 // both sides say from which index on they want to hear from the other
	FeatureVersion1     = 1 << 32 // not a device from before the specification
)

// Device is a device model behind the transport. The transport calls its methods one at a time, on the thread of the vCPU
// that touched a register; that vCPU stands still until they return.
type Device interface {
	// ID is the device type: 2 for blk, 3 for console, 4 for rng... (virtio 1.2 section 5).
	ID() uint16

	// Features are the feature bits of this device type that are offered. Those of rings and transport are added.
	Features() uint64

	// QueueSizes are the largest sizes of the queues, powers of two up to 32768. The driver may choose smaller ones.
	QueueSizes() []uint16

	// ReadConfig fills p from the device configuration at off. What lies beyond its end reads as zero.
	ReadConfig(p []byte, off int)

	// WriteConfig changes the device configuration at off. What is read-only or beyond the end is ignored.
	WriteConfig(p []byte, off int)

	// Start is called when the driver is ready (DRIVER_OK), with the features that it accepted. A queue that it did not
	// enable is nil. Start must not block: it starts the goroutines that serve. A Start that fails leaves nothing running.
	Start(features uint64, queues []*Queue) error

	// Stop ends what Start began, at a reset or with the machine. When it returns, no goroutine and no I/O of the
	// device touches guest memory any more. Stop without Start is allowed.
	Stop()
}

// Changing is a [Device] whose configuration changes by itself, such as a balloon that is given another size.
type Changing interface {
	Device

	// OnChange is called once, before the device is on a bus. From then on the device calls changed, from any goroutine,
	// to make the driver read the configuration again. Nothing is lost if there is no driver yet.
	OnChange(changed func())
}

// Announcing is a [Device] that others find by where it is, such as a network card.
type Announcing interface {
	Device

	// Announce has the driver tell its surroundings where it is. It may be called from any goroutine at any time, after Stop, too; a driver
	// that cannot, or is not there, is not asked.
	Announce()
}
