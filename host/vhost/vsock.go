package vhost

import "errors"

// Vsock serves the receive and the transmit queue of a socket device. The event queue is not the kernel's.
type Vsock struct{ *Device }

// OpenVsock opens /dev/vhost-vsock. It fails with an [os.PathError] where there is none.
func OpenVsock() (Vsock, error) {
	d, err := open("/dev/vhost-vsock")
	return Vsock{d}, err
}

// SetCID gives the guest its address. One that another machine of this host has is unix.EADDRINUSE.
func (v Vsock) SetCID(cid uint32) error {
	n := uint64(cid)
	return ioctl(v.Device, vsockSetGuestCID, &n)
}

// Start has the kernel serve the rings. If it fails, nothing is served.
func (v Vsock) Start(c Config) error {
	if err := v.setUp(c); err != nil {
		return err
	}
	if err := v.setRunning(1); err != nil {
		_, stopErr := v.Stop()
		return errors.Join(err, stopErr)
	}
	return nil
}

// Stop ends what Start began and says which entry of each ring comes next. When it returns, the kernel touches no memory any more.
// Connections stay, until Close.
func (v Vsock) Stop() ([]uint16, error) {
	if err := v.setRunning(0); err != nil {
		return nil, err
	}
	return v.bases()
}

func (v Vsock) setRunning(on int32) error { return ioctl(v.Device, vsockSetRunning, &on) }
