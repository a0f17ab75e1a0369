package initrd

import (
	"path"
	"strings"
)

// ModuleList is the file in an initramfs that names its modules, one path a line, in the order in which they can be loaded.
const ModuleList = "lib/usui/modules"

// moduleDir is the folder of an initramfs that holds the modules.
const moduleDir = "lib/usui/ko"

// Modules adds the files that [Modules.Closure] returned, unpacked, and [ModuleList] with their paths.
func (w *Writer) Modules(m *Modules, files []string) error {
	var list strings.Builder
	for _, file := range files {
		content, err := m.Read(file)
		if err != nil {
			return err
		}
		name := path.Join(moduleDir, moduleName(file)+".ko")
		w.File(name, 0o644, content)
		list.WriteString("/" + name + "\n")
	}
	w.File(ModuleList, 0o644, []byte(list.String()))
	return nil
}
