package kvm

// Device is a device that the kernel emulates, such as arm64's interrupt controller or the link to VFIO.
type Device struct {
	fd int
}

// NewDevice makes a device of the given type: [DeviceVFIO], [DeviceARMVGICV3] and their like. VM.Close closes it.
func (vm *VM) NewDevice(typ uint32) (*Device, error) {
	x := createDevice{Type: typ}
	if _, e := ioctl(vm.fd, kvmCreateDevice, &x); e != nil {
		return nil, e.about("type %d", typ)
	}
	d := &Device{int(x.Fd)}
	vm.own(d)
	return d, nil
}

// HasDevice reports whether the kernel could make a device of the given type.
func (vm *VM) HasDevice(typ uint32) bool {
	_, e := ioctl(vm.fd, kvmCreateDevice, &createDevice{Type: typ, Flags: createDeviceTest})
	return e == nil
}

// Close closes the device; most live on until their machine is closed. Closing twice is allowed.
func (d *Device) Close() error { return closeFD(&d.fd) }

// SetAttr sets an attribute; the kernel reads as many bytes of value, at most 8, as the attribute has:
// Documentation/virt/kvm/devices.
func (d *Device) SetAttr(group uint32, attr, value uint64) error {
	return setAttr(d.fd, group, attr, value)
}

// GetAttr returns an attribute of at most 8 bytes.
func (d *Device) GetAttr(group uint32, attr uint64) (uint64, error) {
	return getAttr(d.fd, group, attr)
}

// HasAttr returns nil when the kernel knows the attribute.
func (d *Device) HasAttr(group uint32, attr uint64) error { return hasAttr(d.fd, group, attr) }

// SetAttr sets an attribute of the vCPU; see [Device.SetAttr].
func (v *VCPU) SetAttr(group uint32, attr, value uint64) error {
	return setAttr(v.fd, group, attr, value)
}

// GetAttr returns an attribute of the vCPU of at most 8 bytes.
func (v *VCPU) GetAttr(group uint32, attr uint64) (uint64, error) { return getAttr(v.fd, group, attr) }

// HasAttr returns nil when the kernel knows the attribute of the vCPU.
func (v *VCPU) HasAttr(group uint32, attr uint64) error { return hasAttr(v.fd, group, attr) }

func setAttr(fd int, group uint32, attr, value uint64) error {
	words := []uint64{value}
	_, e := ioctl(fd, kvmSetDeviceAttr, &deviceAttr{Group: group, Attr: attr, Addr: bytesOf(words)})
	return e.about("group %d, attribute %#x: %#x", group, attr, value)
}

func getAttr(fd int, group uint32, attr uint64) (uint64, error) {
	words := []uint64{0}
	_, e := ioctl(fd, kvmGetDeviceAttr, &deviceAttr{Group: group, Attr: attr, Addr: bytesOf(words)})
	return words[0], e.about("group %d, attribute %#x", group, attr)
}

func hasAttr(fd int, group uint32, attr uint64) error {
	_, e := ioctl(fd, kvmHasDeviceAttr, &deviceAttr{Group: group, Attr: attr})
	return e.about("group %d, attribute %#x", group, attr)
}
