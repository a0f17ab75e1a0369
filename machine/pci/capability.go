package pci

import (
	"encoding/binary"
	"fmt"
)

// Capability is an entry in the capability list of a function (PCI Local Bus Specification 3.0 section 6.7).
type Capability struct {
	ID       uint8
	Body     []byte // what follows the identifier and the pointer to the next entry
	Writable []byte // the bits of Body that the guest may change; nil: none

	// BeforeRead is called before the n bytes at off in body are read, AfterWrite after they were written. Either may be nil
	// and may change body. The function's lock is held: see the package comment for what they may call.
	BeforeRead, AfterWrite func(body []byte, off, n int)
}

// capability is a Capability with its place.
type capability struct {
	Capability
	at, size int // of the body, in configuration space
}

// overlap gives the part of a configuration access that lies in the body.
func (c *capability) overlap(reg, n int) (off, size int) {
	start, end := max(reg, c.at), min(reg+n, c.at+c.size)
	return start - c.at, end - start
}

// body is the current content.
func (f *Function) body(c *capability) []byte { return f.config[c.at : c.at+c.size : c.at+c.size] }

// addCapabilities writes the list: MSI-X, if there is one, and what the configuration says.
func (f *Function) addCapabilities() error {
	list := f.cfg.Capabilities
	if f.cfg.MSIX.Vectors != 0 {
		msixCap, err := f.newMSIX()
		if err != nil {
			return err
		}
		list = append([]Capability{msixCap}, list...)
	}
	at, link := firstCapability, regCapabilities
	for i, c := range list {
		end := at + 2 + len(c.Body)
		if end > configSize {
			return fmt.Errorf("capability %d of %d (%#x): %d bytes of configuration space are not enough", i+1, len(list), c.ID, configSize)
		}
		if c.Writable != nil && len(c.Writable) != len(c.Body) {
			return fmt.Errorf("capability %d of %d (%#x): mask of %d bytes for %d", i+1, len(list), c.ID, len(c.Writable), len(c.Body))
		}
		f.config[link] = byte(at)
		f.config[at] = c.ID
		copy(f.config[at+2:], c.Body)
		copy(f.writable[at+2:], c.Writable)
		f.caps = append(f.caps, capability{c, at + 2, len(c.Body)})
		link, at = at+1, (end+3)&^3 // entries start on 4 bytes
	}
	if len(list) > 0 {
		binary.LittleEndian.PutUint16(f.config[regStatus:], statusCapabilities)
	}
	return nil
}
