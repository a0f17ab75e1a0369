package virtio

import (
	"encoding/binary"

	"usui/machine/pci"
)

// The one BAR of a device: a page for each structure, so that none shares one with another.
const (
	barPage    = 0x1000
	barCommon  = 0 * barPage
	barISR     = 1 * barPage
	barDevice  = 2 * barPage
	barNotify  = 3 * barPage
	barTable   = 4 * barPage // MSI-X
	barPending = 5 * barPage
	barSize    = 8 * barPage

	// notifyMultiplier is the distance of two queues' notify addresses in bytes. An ioeventfd matches its address alone, so
	// there is no need for more.
	notifyMultiplier = 4
)

// PCI identity (virtio 1.2 sections 4.1.2 and 4.1.3).
const (
	pciVendor     = 0x1af4
	pciDeviceBase = 0x1040 // plus the device type
	pciRevision   = 1      // not transitional
)

// Types of vendor capabilities, one for each structure (virtio 1.2 section 4.1.4).
const (
	capVendor = 0x09

	cfgCommon = 1
	cfgNotify = 2
	cfgISR    = 3
	cfgDevice = 4
	cfgPCI    = 5
)

// function describes the device to the bus.
func (t *Transport) function(cfg Config) pci.FunctionConfig {
	multiplier := binary.LittleEndian.AppendUint32(nil, notifyMultiplier)
	window := t.configWindow()
	return pci.FunctionConfig{
		Name: cfg.Name, Vendor: pciVendor, Device: pciDeviceBase + t.dev.ID(),
		SubsystemVendor: pciVendor, Subsystem: pciDeviceBase + t.dev.ID(),
		Class: class(t.dev.ID()), Revision: pciRevision,
		BARs: [6]pci.BAR{{Size: barSize, Wide: true, Region: registers{t}}},
		Capabilities: []pci.Capability{
			vendorCapability(cfgCommon, barCommon, commonSize, nil),
			vendorCapability(cfgISR, barISR, 1, nil),
			vendorCapability(cfgDevice, barDevice, barPage, nil),
			vendorCapability(cfgNotify, barNotify, max(1, uint32(len(t.kicks)))*notifyMultiplier, multiplier),
			window,
		},
		MSIX:    pci.MSIX{Vectors: len(t.maxSizes) + 1, Table: barTable, Pending: barPending},
		Vectors: cfg.Vectors, Log: cfg.Log,
		Placed: func(_ int, gpa uint64, mapped bool) { t.bells.place(gpa+barNotify, mapped) },
		Close:  t.close,
	}
}

// vendorCapability is struct virtio_pci_cap from its cap_len on: where in BAR 0 a structure is.
func vendorCapability(kind byte, offset, length uint32, more []byte) pci.Capability {
	body := make([]byte, 14, 14+len(more))
	body[0] = byte(2 + cap(body))
	body[1] = kind
	binary.LittleEndian.PutUint32(body[6:], offset)
	binary.LittleEndian.PutUint32(body[10:], length)
	return pci.Capability{ID: capVendor, Body: append(body, more...)}
}

// configWindow is the capability through which a driver reaches BARs that it cannot map, such as firmware's (virtio 1.2
// section 4.1.4.9): it writes BAR, offset and length, and then reads or writes the data behind them.
func (t *Transport) configWindow() pci.Capability {
	const (
		bar, offset, length, data = 2, 6, 10, 14
		size                      = 18
	)
	// target gives the place that the driver set, and the bytes of the data register that count.
	target := func(body []byte, off, n int) (int, uint64, []byte) {
		at, want := binary.LittleEndian.Uint32(body[offset:]), binary.LittleEndian.Uint32(body[length:])
		if off+n <= data || want != 1 && want != 2 && want != 4 || at%want != 0 {
			return 0, 0, nil
		}
		return int(body[bar]), uint64(at), body[data:][:want]
	}
	c := vendorCapability(cfgPCI, 0, 0, make([]byte, 4))
	c.Writable = make([]byte, size)
	for _, i := range []int{bar, offset, offset + 1, offset + 2, offset + 3, length, data, data + 1, data + 2, data + 3} {
		c.Writable[i] = 0xff
	}
	c.BeforeRead = func(body []byte, off, n int) {
		if bar, at, p := target(body, off, n); p != nil {
			t.fn.ReadBAR(bar, at, p)
		}
	}
	c.AfterWrite = func(body []byte, off, n int) {
		if bar, at, p := target(body, off, n); p != nil {
			t.fn.WriteBAR(bar, at, p)
		}
	}
	return c
}

// class is the PCI class code of a device type. Those without a class of their own are "unclassified, other", as in QEMU.
func class(id uint16) uint32 {
	switch id {
	case 1: // net
		return 0x020000 // Ethernet controller
	case 2, 8: // blk, scsi
		return 0x010000 // SCSI storage controller
	case 3, 19: // console, vsock
		return 0x078000 // communication controller, other
	case 26: // fs
		return 0x018000 // storage controller, other
	}
	return 0x00ff00
}
