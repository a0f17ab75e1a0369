package guestimage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// initName is the file name of the static program that becomes the guest's first process.
const initName = "usui-init"

// FindInit returns the path of usui-init for a Debian architecture. It lies beside the running executable, or, for an
// architecture other than the executable's own, in a folder of the architecture's name there.
func FindInit(arch string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find usui-init: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), initName)
	if arch != runtime.GOARCH {
		path = filepath.Join(filepath.Dir(self), arch, initName)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find usui-init for %s (make build makes it): %w", arch, err)
	}
	return path, nil
}
