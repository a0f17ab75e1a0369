package where

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxCPUInfo bounds /proc/cpuinfo: some 4 KiB a CPU, of which Linux has up to 8192.
const maxCPUInfo = 32 << 20

// cpuInfo is what /proc/cpuinfo says.
type cpuInfo struct {
	count int               // of CPUs
	first map[string]string // the fields of the first one
	flags []string          // of the first one
}

// parseCPUInfo parses lines of the form "name : value", with an empty line after each CPU. See
// arch/x86/kernel/cpu/proc.c and arch/arm64/kernel/cpuinfo.c.
func parseCPUInfo(text []byte) cpuInfo {
	c := cpuInfo{first: map[string]string{}}
	for line := range bytes.Lines(text) {
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok {
			continue
		}
		if name == "processor" {
			c.count++
		}
		if c.count <= 1 {
			c.first[name] = value
		}
	}
	c.flags = strings.Fields(c.first["flags"])
	return c
}

func (c cpuInfo) has(flag string) bool { return slices.Contains(c.flags, flag) }

// arm says that the text is an arm64 kernel's.
func (c cpuInfo) arm() bool { return c.first["CPU implementer"] != "" }

// name tells processors apart. The model name alone does not: hypervisors make it a general one.
func (c cpuInfo) name() string {
	if c.arm() {
		return Plain(fmt.Sprintf("ARM implementer %s part %s variant %s revision %s",
			c.first["CPU implementer"], c.first["CPU part"], c.first["CPU variant"], c.first["CPU revision"]))
	}
	model := c.first["model name"]
	if model == "" {
		return ""
	}
	return Plain(fmt.Sprintf("%s, family %s model %s stepping %s", model, c.first["cpu family"], c.first["model"], c.first["stepping"]))
}
