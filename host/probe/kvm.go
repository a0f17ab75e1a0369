package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// State of a KVM device.
type State uint8

// A stock kernel can boot on [KVMHardware] only.
const (
	KVMAbsent       State = iota // there is no device, or no driver behind it
	KVMNoPermission              // it is there, but not for this user
	KVMBroken                    // it is there and does not work as KVM does
	KVMSoftware                  // it works, but interprets privileged code
	KVMHardware                  // it works at a processor's speed
)

// String implements fmt.Stringer.
func (s State) String() string {
	return [...]string{"absent", "no permission", "broken", "software", "hardware"}[s]
}

// KVMState is what [KVM] found.
type KVMState struct {
	State  State
	Reason string // one line: what was found, with its value
	Remedy string // what to do; empty if nothing can be done
}

// Usable says that a stock kernel can boot.
func (s KVMState) Usable() bool { return s.State == KVMHardware }

// Numbers of the KVM API; see Documentation/virt/kvm/api.rst, sections 4.1 and 4.2.
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmAPIVersion    = 12
)

// softwareLimit is the cost of a privileged instruction above which a KVM is a software one. Processors need
// below 1 ns, a processor that is itself emulated some 10 ns, kvm_pvm 600 ns and more.
const softwareLimit = 200 * time.Nanosecond

// KVM finds out whether the KVM device at path can run a stock kernel. speed measures what one privileged
// instruction costs in a guest; it is called only if the device works otherwise. Without it the kernel's
// modules tell.
func KVM(path string, speed func(path string) (time.Duration, error)) KVMState {
	f, err := openDevice(path)
	if err != nil {
		return kvmOpenError(path, err)
	}
	defer f.Close()
	version, err := unix.IoctlRetInt(int(f.Fd()), kvmGetAPIVersion)
	if err != nil {
		return KVMState{KVMBroken, fmt.Sprintf("%s is not a KVM: KVM_GET_API_VERSION: %v", path, err), "look at what made " + path}
	}
	if version != kvmAPIVersion {
		return KVMState{KVMBroken, fmt.Sprintf("%s has API version %d, not %d", path, version, kvmAPIVersion), ""}
	}
	vm, err := unix.IoctlRetInt(int(f.Fd()), kvmCreateVM)
	if err != nil {
		return KVMState{KVMBroken, fmt.Sprintf("%s makes no virtual machine: KVM_CREATE_VM: %v", path, err), "end other hypervisors; see dmesg"}
	}
	unix.Close(vm)
	if speed == nil {
		speed = Host{}.speed()
	}
	cost, err := speed(path)
	switch {
	case errors.Is(err, errNoModule):
		return KVMState{KVMSoftware, fmt.Sprintf("%s is a software KVM: neither kvm_intel nor kvm_amd drives it", path), softwareRemedy}
	case err != nil:
		return KVMState{KVMBroken, fmt.Sprintf("%s runs no guest: %v", path, err), "see dmesg"}
	case cost > softwareLimit:
		return KVMState{KVMSoftware, fmt.Sprintf("%s is a software KVM: %v for a privileged instruction", path, rounded(cost)), softwareRemedy}
	case cost == 0:
		return KVMState{KVMHardware, path + " is a hardware KVM", ""}
	}
	return KVMState{KVMHardware, fmt.Sprintf("%s is a hardware KVM: %v for a privileged instruction", path, rounded(cost)), ""}
}

func kvmOpenError(path string, err error) KVMState {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return KVMState{KVMNoPermission, "no permission to open " + path, "run as root, or add this user to the group kvm"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return KVMState{KVMAbsent, path + " is absent", "switch virtualization on in the firmware, then modprobe kvm_intel or kvm_amd"}
	}
	return KVMState{KVMBroken, err.Error(), ""}
}

const softwareRemedy = "use a machine with VMX or SVM; usui run goes on in the lab"

// errNoModule is the answer of a judgement without measurement.
var errNoModule = errors.New("no module for hardware")

// rounded keeps three digits at most.
func rounded(d time.Duration) time.Duration {
	if d < time.Microsecond {
		return d
	}
	return d.Round(10 * time.Nanosecond)
}

const kvmHow = "open /dev/kvm, KVM_GET_API_VERSION, KVM_CREATE_VM"

// any is the fact that guests of some kind run.
func (s KVMState) any() Fact {
	f := Fact{Name: "kvm", OK: s.State >= KVMSoftware, How: kvmHow, Detail: s.Reason}
	if f.OK {
		f.Detail = fmt.Sprintf("API version %d, makes virtual machines", kvmAPIVersion)
	} else {
		f.Remedy = s.Remedy
	}
	return f
}

// hardware is the fact that a stock kernel can boot.
func (s KVMState) hardware() Fact {
	f := Fact{Name: "hardware-kvm", OK: s.State == KVMHardware, How: "time a privileged loop in a guest", Detail: s.Reason, Remedy: s.Remedy}
	if s.State < KVMSoftware {
		f.How = kvmHow
	}
	return f
}

// speed returns h.Speed or, without one, a judgement by the kernel modules that drive hardware.
func (h Host) speed() func(string) (time.Duration, error) {
	if h.Speed != nil {
		return h.Speed
	}
	return func(string) (time.Duration, error) {
		for _, m := range []string{"kvm_intel", "kvm_amd"} {
			if _, err := os.Stat(h.path("/sys/module/" + m)); err == nil {
				return 0, nil
			}
		}
		if runtime.GOARCH != "amd64" {
			return 0, nil // elsewhere there is no software KVM
		}
		return 0, errNoModule
	}
}

// virtualization looks for the processor's own flags; see arch/x86/include/asm/cpufeatures.h.
func (h Host) virtualization() Fact {
	f := Fact{Name: "cpu-virtualization", How: "flags in /proc/cpuinfo"}
	text, err := h.read("/proc/cpuinfo")
	switch {
	case err != nil:
		f.Detail = err.Error()
	case hasWord(text, "vmx"):
		f.OK, f.Detail = true, "Intel VMX"
	case hasWord(text, "svm"):
		f.OK, f.Detail = true, "AMD SVM"
	case hasWord(text, "flags"):
		f.Detail, f.Remedy = "neither vmx nor svm", "switch virtualization on in the firmware, or in the hypervisor above"
	default:
		f.OK, f.Detail = h.device("/dev/kvm") == nil, "arm64 shows no flag; /dev/kvm tells"
	}
	return f
}

// nested reads whether guests may have a KVM of their own.
func (h Host) nested() Fact {
	f := Fact{Name: "nested-kvm", How: "parameter nested of the module kvm_intel or kvm_amd", Detail: "no such module is loaded"}
	for _, m := range []string{"kvm_intel", "kvm_amd"} {
		value, err := h.read(filepath.Join("/sys/module", m, "parameters/nested"))
		if err != nil {
			continue
		}
		f.Detail = m + ".nested=" + value
		if f.OK = value == "1" || value == "Y"; !f.OK {
			f.Remedy = "modprobe " + m + " nested=1, after removing it"
		}
	}
	return f
}
