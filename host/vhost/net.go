package vhost

import (
	"errors"
	"fmt"
)

// Net serves one pair of a network card's queues, receive and transmit.
type Net struct{ *Device }

// OpenNet opens /dev/vhost-net. It fails with an [os.PathError] where there is none.
func OpenNet() (Net, error) {
	d, err := open("/dev/vhost-net")
	return Net{d}, err
}

// Start has the kernel move frames between the rings and a tap device or a packet socket. If it fails, nothing is served.
func (n Net) Start(c Config, backend int) error {
	if err := n.setUp(c); err != nil {
		return err
	}
	for i := range c.Rings {
		if err := n.setBackend(i, backend); err != nil {
			_, stopErr := n.Stop()
			return errors.Join(err, stopErr)
		}
	}
	return nil
}

// Stop ends what Start began and says which entry of each ring comes next. When it returns, the kernel touches no memory any more.
func (n Net) Stop() ([]uint16, error) {
	for i := range n.rings {
		if err := n.setBackend(i, None); err != nil {
			return nil, err
		}
	}
	return n.bases()
}

func (n Net) setBackend(ring, fd int) error {
	if err := ioctl(n.Device, netSetBackend, &vringFile{Index: uint32(ring), Fd: int32(fd)}); err != nil {
		return fmt.Errorf("ring %d: %w", ring, err)
	}
	return nil
}
