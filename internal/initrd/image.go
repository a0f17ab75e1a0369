package initrd

import (
	"fmt"
	"path"
	"strings"
)

// ModuleList is the file in an initramfs that names its modules, one path a line, in the order in which they can be loaded.
const ModuleList = "lib/usui/modules"

// moduleDir is the folder of an initramfs that holds the modules.
const moduleDir = "lib/usui/ko"

// DeviceLists is the folder in an initramfs that has a list like [ModuleList] for each kind of PCI device whose driver is loaded only
// where there is such a device. Its name is VENDOR:DEVICE, in four hexadecimal digits each.
const DeviceLists = "lib/usui/devices"

// Modules adds the files that [Modules.Closure] returned, unpacked, and [ModuleList] with their paths.
func (w *Writer) Modules(m *Modules, files []string) error { return w.moduleList(m, ModuleList, files) }

// DeviceModules is Modules for a kind of PCI device.
func (w *Writer) DeviceModules(m *Modules, vendor, device uint16, files []string) error {
	return w.moduleList(m, fmt.Sprintf("%s/%04x:%04x", DeviceLists, vendor, device), files)
}

// moduleList adds the files, but for those that are there already, and a list of them all.
func (w *Writer) moduleList(m *Modules, listName string, files []string) error {
	var list strings.Builder
	for _, file := range files {
		name := path.Join(moduleDir, moduleName(file)+".ko")
		list.WriteString("/" + name + "\n")
		if w.modules[name] {
			continue
		}
		content, err := m.Read(file)
		if err != nil {
			return err
		}
		w.File(name, 0o644, content)
		w.modules[name] = true
	}
	w.File(listName, 0o644, []byte(list.String()))
	return nil
}
