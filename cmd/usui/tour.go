package main

import (
	"fmt"
	"io"
	"time"
)

// tourScript is what the default guest runs where there is no terminal to give it a shell on: it shows what kind of machine it
// finds itself in, from its own /proc and /sys. It needs nothing but busybox.
const tourScript = `
echo "kernel   $(uname -sr) on $(uname -m)"
echo "cpus     $(nproc)"
echo "memory   $(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1024)) MiB"
echo "clock    $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
label=devices
for d in /sys/bus/pci/devices/*; do
	driver=$(readlink "$d/driver"); virtio=
	for v in "$d"/virtio*; do [ -e "$v/driver" ] && virtio=" -> $(basename "$(readlink "$v/driver")")"; done
	printf '%-8s %s %s:%s %s%s\n' "$label" "${d##*/}" "$(sed s/0x// "$d/vendor")" "$(sed s/0x// "$d/device")" "${driver##*/}" "$virtio"
	label=
done
`

// bootPhases is where the time of a boot went, from the start of the monitor to the command in the guest.
type bootPhases struct {
	Monitor time.Duration `json:"monitorNs"`          // VM, memory, devices
	Image   time.Duration `json:"imageNs"`            // kernel unpacked and in place, vCPUs ready
	Kernel  time.Duration `json:"kernelNs,omitempty"` // first instruction to the first line of init
	Init    time.Duration `json:"initNs,omitempty"`   // mounts, modules, connection to the monitor
}

// total is the sum of all phases.
func (p bootPhases) total() time.Duration { return p.Monitor + p.Image + p.Kernel + p.Init }

// print writes the phases as a line of the tour.
func (p bootPhases) print(w io.Writer) {
	fmt.Fprintf(w, "boot     %s: monitor %s, kernel image %s, kernel %s, init %s\n",
		seconds(p.total()), seconds(p.Monitor), seconds(p.Image), seconds(p.Kernel), seconds(p.Init))
}

// seconds rounds to what a reader can use.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
