package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleList names the modules of the initramfs, one path a line, what is needed first comes first.
const moduleList = "/lib/usui/modules"

// loadModules loads the modules in list. One that cannot be loaded, such as kvm_amd on another CPU, is a remark and no
// more: if it was needed, what comes next says so. A guest whose kernel has all it needs has no list.
func loadModules(list string) (remarks []string) {
	text, err := os.ReadFile(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []string{err.Error()}
	}
	for _, file := range strings.Fields(string(text)) {
		if err := loadModule(file, ""); err != nil {
			remarks = append(remarks, err.Error())
		}
	}
	return remarks
}

// pciDevices are the PCI devices of the machine.
const pciDevices = "/sys/bus/pci/devices"

// deviceLists holds a list like moduleList for each kind of PCI device whose driver is not always needed, named VENDOR:DEVICE.
const deviceLists = "/lib/usui/devices"

// loadDeviceModules loads the modules of the kinds of devices that are listed in the folder pci of sysfs.
func loadDeviceModules(pci, lists string) (remarks []string) {
	devices, err := os.ReadDir(pci)
	if err != nil {
		return nil // a machine without PCI
	}
	done := map[string]bool{}
	for _, d := range devices {
		id := func(file string) string {
			text, err := os.ReadFile(filepath.Join(pci, d.Name(), file))
			if err != nil {
				return "" // the device has gone
			}
			return strings.TrimPrefix(strings.TrimSpace(string(text)), "0x")
		}
		if kind := id("vendor") + ":" + id("device"); !done[kind] {
			done[kind] = true
			remarks = append(remarks, loadModules(filepath.Join(lists, kind))...)
		}
	}
	return remarks
}

// loadModule loads one module; that it is loaded already is no error.
func loadModule(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), params, flags)
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}
