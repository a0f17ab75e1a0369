package lab

import "debug/elf"

// isProgram reports whether a file is an ELF program for a Debian architecture.
func isProgram(path, arch string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	switch arch {
	case "amd64":
		return f.Machine == elf.EM_X86_64
	case "arm64":
		return f.Machine == elf.EM_AARCH64
	}
	return false
}
