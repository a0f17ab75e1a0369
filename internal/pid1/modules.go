package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
